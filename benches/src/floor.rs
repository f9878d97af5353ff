//! The floor: what the database itself can do with the rows of such sagas, and nothing of the
//! engine. The same statements on the same tables in batches that form the same way (whatever is
//! ready when the last commit returns), from data that was prepared before.

mod postgres;
pub(crate) mod rows;
mod sqlite;

use clap::Args;

use crate::cost::Meter;
use crate::database::Database;
use crate::figures::{Figures, Samples};
use crate::load::{Load, StoreKind, Window};
use crate::machine;
use rows::Rows;

/// Figures of the floor.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,

    #[command(flatten)]
    batching: Batching,
}

/// How the rows are brought together. The defaults are what the stores do.
#[derive(Clone, Debug, Args)]
pub(crate) struct Batching {
    /// Connections that append, beside the one that starts (PostgreSQL; SQLite has one writer)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    appenders: u8,

    /// Most rows of one statement (PostgreSQL, 512) or of one transaction (SQLite, 256)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    batch_max: Option<u16>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    machine::tell();
    Figures::print_head(&options.load);
    for &concurrency in &options.load.concurrency {
        measure(&options.load, &options.batching, concurrency)?.print(&options.load)?;
    }
    Ok(())
}

/// One run on a database of its own.
pub(crate) fn measure(
    load: &Load,
    batching: &Batching,
    concurrency: u32,
) -> anyhow::Result<Figures> {
    let database = Database::fresh(load.store)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let url = runtime.block_on(database.prepare())?;
    let rows = runtime.block_on(Rows::of_one_saga(load.fail_last))?;
    let run = Run { rows, batching: batching.clone(), concurrency: concurrency as usize };
    let window = load.window();
    let meter = Meter::start(&database, None, window);
    let samples = match database.file() {
        Some(file) => sqlite::run(&run, &file, window)?,
        None => runtime.block_on(postgres::run(run, &url, window))?,
    };
    Figures::new("floor", load, concurrency, samples, meter)
}

/// One run.
struct Run {
    rows: Rows,
    batching: Batching,
    concurrency: usize,
}

impl Run {
    fn batch_max(&self, kind: StoreKind) -> usize {
        let usual = if kind == StoreKind::Sqlite { 256 } else { 512 };
        self.batching.batch_max.map_or(usual, usize::from)
    }
}
