//! What a saga takes while it sleeps, while it runs and when it is over: in the memory of a worker,
//! which is a process of its own, and on disk.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::load::StoreKind;
use crate::look::Look;
use crate::machine;
use crate::worker_process::{Fate, Served};

/// Room of the worker beyond all the sagas, so that a look for others never stops a start.
const ROOM: usize = 128;
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the last sagas may take to come to rest.
const REST_MAX: Duration = Duration::from_secs(60);

const FINISHED: &str = "SELECT count(*) FROM saga WHERE status = 'completed'";
const SLEEPING: &str = "SELECT count(*) FROM saga WHERE owner IS NULL AND ended_at IS NULL AND next_wake_at IS NOT NULL";
const RUNNING: &str = "SELECT count(*) FROM saga WHERE owner IS NOT NULL AND ended_at IS NULL";

/// Sagas in a worker's process.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored: sqlite or postgres
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,

    /// Sagas of each kind: first so many, then as many more
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sagas: u32,

    /// Only these kinds, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "finished,sleeping,running")]
    only: Vec<Fate>,

    /// One JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

/// One kind of saga, in bytes.
#[derive(Debug, Serialize)]
struct Figures {
    bench: &'static str,
    store: StoreKind,
    kind: Fate,
    sagas: u32,
    /// The process before the first saga, after `sagas` of them, and after as many more.
    memory_before: u64,
    memory_after: u64,
    memory_after_twice: u64,
    /// For each of the first sagas, with all that a process which has worked holds on to.
    memory_per_saga: f64,
    /// For each of those that came after them: what a further saga adds.
    memory_per_further_saga: f64,
    /// Of the database, for each saga of both.
    disk_per_saga: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    machine::tell();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !options.json {
        println!("bytes for each of {} sagas on {}", options.sagas, options.store.name());
        println!("{:<9} {:>10} {:>10} {:>10}", "saga", "memory", "further", "disk");
    }
    for &kind in &options.only {
        runtime.block_on(measure(options, kind))?.print(options)?;
    }
    Ok(())
}

/// One kind, with a database and a process of its own.
async fn measure(options: &Options, kind: Fate) -> anyhow::Result<Figures> {
    let (database, folder) = (Database::fresh(options.store)?, tempfile::tempdir()?);
    let url = database.prepare().await?;
    let (mut look, sagas) = (Look::open(&url).await?, u64::from(options.sagas));
    let room = 2 * options.sagas as usize + ROOM;
    let mut worker = Served::new(&url, kind, room).start(folder.path()).await?;
    let (mut memory, mut disk) = (Vec::new(), Vec::new());
    for round in 0..3 {
        if round > 0 {
            worker.start_sagas((round - 1) * sagas, sagas).await?;
            at_rest(&mut look, kind, round * sagas).await?;
        }
        sleep(SETTLE).await;
        memory.push(worker.memory()?);
        disk.push(look.bytes().await?);
    }
    let each = |from: u64, until: u64, of: u64| (until as f64 - from as f64) / of as f64;
    Ok(Figures {
        bench: "memory",
        store: options.store,
        kind,
        sagas: options.sagas,
        memory_before: memory[0],
        memory_after: memory[1],
        memory_after_twice: memory[2],
        memory_per_saga: each(memory[0], memory[1], sagas),
        memory_per_further_saga: each(memory[1], memory[2], sagas),
        disk_per_saga: each(disk[0], disk[2], 2 * sagas),
    })
}

/// Waits until all sagas are on record as what they are to be.
async fn at_rest(look: &mut Look, kind: Fate, wanted: u64) -> anyhow::Result<()> {
    let question = match kind {
        Fate::Finished => FINISHED,
        Fate::Sleeping => SLEEPING,
        Fate::Running => RUNNING,
    };
    let since = Instant::now();
    loop {
        let sagas = look.count(question).await?;
        if sagas == wanted {
            return Ok(());
        }
        ensure!(
            since.elapsed() < REST_MAX,
            "{wanted} sagas should be {}, but {sagas} are",
            kind.name()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

impl Figures {
    fn print(&self, options: &Options) -> anyhow::Result<()> {
        if options.json {
            return machine::print_json(self);
        }
        let Self { kind, memory_per_saga, memory_per_further_saga, disk_per_saga, .. } = self;
        println!(
            "{:<9} {memory_per_saga:>10.0} {memory_per_further_saga:>10.0} {disk_per_saga:>10.0}",
            kind.name()
        );
        Ok(())
    }
}
