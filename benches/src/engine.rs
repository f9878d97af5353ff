//! Closed loop: so many clients, each starting a saga when its last one has its verdict.

mod over_http;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use saga_core::{MemoryStore, Store};
use saga_worker::{Client, SystemClock, Worker};

use crate::cost::Meter;
use crate::database::Database;
use crate::figures::{Figures, Samples};
use crate::finished;
use crate::load::{Load, StoreKind, Window};
use crate::machine;
use crate::on_record;
use crate::workload::{self, ORDER, Order, Shape};

/// Figures of the engine bench.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,

    #[command(flatten)]
    engine: Engine,
}

/// What is particular about the engine.
#[derive(Clone, Debug, Args)]
pub(crate) struct Engine {
    /// Workers, each with connections of its own, among which the clients are divided
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,

    /// Finished sagas in the tables before each run begins
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) history: u64,

    /// How clients reach the engine, and the engine its participants
    #[arg(long, value_enum, default_value = "calls")]
    pub(crate) over: Over,
}

impl Engine {
    /// What cannot be measured is refused before anything is made for it.
    fn check(&self, load: &Load) -> anyhow::Result<()> {
        if self.over == Over::Calls {
            return Ok(());
        }
        ensure!(
            self.workers == 1,
            "--over http has one daemon, which is one worker: leave out --workers"
        );
        ensure!(
            self.history == 0,
            "--over http begins with an empty database: leave out --history"
        );
        ensure!(
            load.store != StoreKind::Memory,
            "a daemon keeps no sagas in memory: use --store sqlite or --store postgres"
        );
        Ok(())
    }
}

/// How clients reach the engine, and the engine its participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Function calls: all of it is in this process
    Calls,
    /// HTTP: `saga-worker` is a process, clients and participants are in this one
    Http,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { load, engine } = options;
    machine::tell();
    Figures::print_head(load);
    for &concurrency in &load.concurrency {
        measure(load, engine, concurrency)?.print(load)?;
    }
    Ok(())
}

/// One run on a database of its own, with as many finished sagas in it as wanted.
pub(crate) fn measure(load: &Load, engine: &Engine, concurrency: u32) -> anyhow::Result<Figures> {
    measure_shape(load, engine, concurrency, Shape::default())
}

/// The same with sagas of another shape.
pub(crate) fn measure_shape(
    load: &Load,
    engine: &Engine,
    concurrency: u32,
    shape: Shape,
) -> anyhow::Result<Figures> {
    engine.check(load)?;
    let database = Database::fresh(load.store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if engine.history > 0 {
        let url = database.url().context("--history needs a store with tables, not memory")?;
        runtime.block_on(finished::fill(&url, engine.history))?;
    }
    if engine.over == Over::Http {
        let (samples, meter) = runtime.block_on(over_http::drive(load, concurrency, database))?;
        return Figures::new("daemon", load, concurrency, samples, meter);
    }
    let (samples, meter) = runtime.block_on(drive(load, engine, concurrency, &database, shape))?;
    Figures::new("engine", load, concurrency, samples, meter)
}

async fn drive(
    load: &Load,
    engine: &Engine,
    concurrency: u32,
    database: &Database,
    shape: Shape,
) -> anyhow::Result<(Samples, Meter)> {
    let mut workers = Vec::new();
    // In memory there is one store for all.
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    for _ in 0..engine.workers {
        let store = match database.url() {
            Some(url) => saga_store::connect(&url).await?,
            None => memory.clone(),
        };
        let worker = Worker::builder(store)
            .register(workload::definition_of(shape, load.fail_last)?)
            .concurrency_max(concurrency as usize + 16);
        workers.push(worker.start().await?);
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let window = load.window();
    let meter = Meter::start(database, None, window);
    let mut clients = Vec::new();
    for worker in workers.iter().cycle().take(concurrency as usize) {
        let (client, numbers) = (worker.client().clone(), numbers.clone());
        clients.push(tokio::spawn(place_orders(client, numbers, window, load.fail_last, shape)));
    }
    let mut samples = Samples::new(window);
    for client in clients {
        samples.extend(client.await??);
    }
    for worker in workers {
        worker.shutdown().await;
    }
    if let Some(url) = database.url().filter(|_| engine.history == 0) {
        let started = numbers.load(Ordering::Relaxed);
        on_record::check(&url, started, load.fail_last, shape).await?;
    }
    Ok((samples, meter))
}

/// One client.
async fn place_orders(
    client: Client,
    numbers: Arc<AtomicU64>,
    window: Window,
    fail_last: bool,
    shape: Shape,
) -> anyhow::Result<Samples> {
    let (mut samples, expected) = (Samples::new(window), workload::verdict(fail_last));
    loop {
        let begun = Instant::now();
        if begun >= window.closes {
            return Ok(samples);
        }
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let start =
            client.start(ORDER, &Order::of_shape(number, shape)).key(format!("order-{number}"));
        let saga = start.await?;
        let verdict = tokio::time::timeout_at(window.gives_up().into(), saga.verdict()).await;
        let verdict = verdict.with_context(|| format!("saga {} has no verdict", saga.id))??;
        samples.note(begun, Instant::now());
        ensure!(verdict == expected, "saga {} ended {verdict}, expected {expected}", saga.id);
    }
}
