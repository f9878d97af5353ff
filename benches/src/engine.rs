//! Closed loop: so many clients, each starting a saga when its last one has its verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use saga_core::{MemoryStore, Store, Verdict};
use saga_worker::{SystemClock, Worker};
use serde::Serialize;

use crate::workload::{self, ORDER, Order};

/// Where the sagas are stored.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum StoreKind {
    /// In memory: the engine alone, nothing durable
    Memory,
    /// A SQLite file in a fresh temporary folder, WAL, synchronous=FULL
    Sqlite,
    /// A fresh database on a throwaway PostgreSQL, fsync and synchronous_commit on
    Postgres,
}

/// Figures of the engine bench.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,

    /// Clients at once; several runs, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,64,256", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: Vec<u32>,

    /// Length of each run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// The third step is rejected, so two compensations run
    #[arg(long)]
    fail_last: bool,

    /// One JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

/// One line of results.
#[derive(Serialize)]
struct Figures {
    store: StoreKind,
    concurrency: u32,
    fail_last: bool,
    sagas: u64,
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    if !options.json {
        println!(
            "{:>8} {:>12} {:>12} {:>10} {:>10}",
            "store", "concurrency", "sagas/s", "p50 ms", "p99 ms"
        );
    }
    for &concurrency in &options.concurrency {
        let figures = measure(options, concurrency).await?;
        if options.json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            let store = format!("{:?}", figures.store).to_lowercase();
            let Figures { sagas_per_s, p50_ms, p99_ms, .. } = figures;
            println!(
                "{store:>8} {concurrency:>12} {sagas_per_s:>12.0} {p50_ms:>10.2} {p99_ms:>10.2}"
            );
        }
    }
    Ok(())
}

async fn measure(options: &Options, concurrency: u32) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> = match options.store {
        StoreKind::Memory => Arc::new(MemoryStore::new(Arc::new(SystemClock))),
        StoreKind::Sqlite => {
            saga_store::connect(&format!("sqlite://{}", folder.path().join("saga.db").display()))
                .await?
        }
        StoreKind::Postgres => saga_store::connect(&throwaway_postgres::fresh_database()?).await?,
    };
    let worker = Worker::builder(store)
        .register(workload::definition(options.fail_last)?)
        .concurrency_max(concurrency as usize + 16)
        .start()
        .await?;
    let expected = if options.fail_last { Verdict::Compensated } else { Verdict::Completed };
    let numbers = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let until = begun + Duration::from_secs(options.seconds);
    let clients: Vec<_> = (0..concurrency)
        .map(|_| {
            let (client, numbers, expected) =
                (worker.client().clone(), numbers.clone(), expected.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < until {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let started = Instant::now();
                    let saga = client
                        .start(ORDER, &Order::new(number))
                        .key(format!("order-{number}"))
                        .await?;
                    let verdict = saga.verdict().await?;
                    latencies.push(started.elapsed());
                    ensure!(
                        verdict == expected,
                        "saga {} ended {verdict}, expected {expected}",
                        saga.id
                    );
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await??);
    }
    let elapsed = begun.elapsed();
    worker.shutdown().await;
    latencies.sort_unstable();
    Ok(figures(options, concurrency, &latencies, elapsed))
}

fn figures(options: &Options, concurrency: u32, sorted: &[Duration], elapsed: Duration) -> Figures {
    let percentile = |percent: usize| {
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    };
    Figures {
        store: options.store,
        concurrency,
        fail_last: options.fail_last,
        sagas: sorted.len() as u64,
        sagas_per_s: sorted.len() as f64 / elapsed.as_secs_f64(),
        p50_ms: percentile(50),
        p99_ms: percentile(99),
    }
}
