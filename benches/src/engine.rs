//! Closed loop: so many clients, each starting a saga when its last one has its verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use saga_core::{MemoryStore, Store};
use saga_worker::{Client, SystemClock, Worker};

use crate::database::Database;
use crate::figures::{Figures, Samples};
use crate::finished;
use crate::load::{Load, Window};
use crate::workload::{self, ORDER, Order};

/// Figures of the engine bench.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,

    /// Finished sagas in the tables before each run begins
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    history: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    Figures::print_head(&options.load);
    for &concurrency in &options.load.concurrency {
        measure(&options.load, concurrency, options.history)?.print(&options.load)?;
    }
    Ok(())
}

/// One run on a database of its own, with so many finished sagas in it.
pub(crate) fn measure(load: &Load, concurrency: u32, history: u64) -> anyhow::Result<Figures> {
    let database = Database::fresh(load.store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if history > 0 {
        let url = database.url().context("--history needs a store with tables, not memory")?;
        runtime.block_on(finished::fill(&url, history))?;
    }
    let samples = runtime.block_on(drive(load, concurrency, &database))?;
    Ok(Figures::new("engine", load, concurrency, samples))
}

async fn drive(load: &Load, concurrency: u32, database: &Database) -> anyhow::Result<Samples> {
    let store: Arc<dyn Store> = match database.url() {
        Some(url) => saga_store::connect(&url).await?,
        None => Arc::new(MemoryStore::new(Arc::new(SystemClock))),
    };
    let worker = Worker::builder(store)
        .register(workload::definition(load.fail_last)?)
        .concurrency_max(concurrency as usize + 16)
        .start()
        .await?;
    let numbers = Arc::new(AtomicU64::new(0));
    let window = load.window();
    let clients: Vec<_> = (0..concurrency)
        .map(|_| {
            tokio::spawn(place_orders(
                worker.client().clone(),
                numbers.clone(),
                window,
                load.fail_last,
            ))
        })
        .collect();
    let mut samples = Samples::new(window);
    for client in clients {
        samples.extend(client.await??);
    }
    worker.shutdown().await;
    Ok(samples)
}

/// One client.
async fn place_orders(
    client: Client,
    numbers: Arc<AtomicU64>,
    window: Window,
    fail_last: bool,
) -> anyhow::Result<Samples> {
    let (mut samples, expected) = (Samples::new(window), workload::verdict(fail_last));
    loop {
        let begun = Instant::now();
        if begun >= window.closes {
            return Ok(samples);
        }
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let start = client.start(ORDER, &Order::new(number)).key(format!("order-{number}"));
        let saga = start.await?;
        let verdict = saga.verdict().await?;
        samples.note(begun, Instant::now());
        ensure!(verdict == expected, "saga {} ended {verdict}, expected {expected}", saga.id);
    }
}
