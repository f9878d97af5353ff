//! Retention: how fast finished sagas leave, and what that costs the sagas that run meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use saga_core::Verdict;
use saga_core::store::Store;
use saga_worker::{Client, Worker};
use serde::Serialize;

use crate::finished;
use crate::workload::{self, ORDER, Order};

/// How long sagas are kept in this bench: so short that those of the bench itself leave as well,
/// as they do in the long run of any service with retention.
const KEPT: Duration = Duration::from_secs(1);
/// Sagas deleted at once when nothing else is to be done; a worker takes as many.
const BATCH: u32 = 100;

/// Where the sagas are stored.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A SQLite file in a fresh temporary folder
    Sqlite,
    /// A fresh database on a throwaway PostgreSQL
    Postgres,
}

/// Figures of the retention bench.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Kind,

    /// Finished sagas in the store, all old enough to leave
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    finished: u64,

    /// Clients of the closed loop that runs without and then with retention
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,

    /// Length of each run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=3_600))]
    seconds: u64,

    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    bench: &'static str,
    store: Kind,
    finished: u64,
    concurrency: u32,
    /// With the finished sagas in the tables and nothing deleted.
    sagas_per_s_without: f64,
    /// While a worker deletes what has ended.
    sagas_per_s_with: f64,
    /// What the worker deleted meanwhile.
    deleted_per_s_beside: f64,
    /// What one caller deletes without a pause when nothing else runs.
    deleted_per_s_alone: f64,
    /// Milliseconds of one batch of that.
    batch_p50_ms: f64,
    batch_p99_ms: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let url = match options.store {
        Kind::Sqlite => format!("sqlite://{}", folder.path().join("saga.db").display()),
        Kind::Postgres => throwaway_postgres::fresh_database()?,
    };
    finished::fill(&url, options.finished).await?;
    let store = saga_store::connect(&url).await?;
    let numbers = Arc::new(AtomicU64::new(0));
    let (without, _) = engine(options, &store, &numbers, None).await?;
    let before = on_record(&store).await?;
    let (with, ran) = engine(options, &store, &numbers, Some(KEPT)).await?;
    let deleted = before + ran - on_record(&store).await?;
    let (alone, batches) = delete_alone(options, &store).await?;
    let seconds = options.seconds as f64;
    let figures = Figures {
        bench: "retention",
        store: options.store,
        finished: options.finished,
        concurrency: options.concurrency,
        sagas_per_s_without: without,
        sagas_per_s_with: with,
        deleted_per_s_beside: deleted as f64 / seconds,
        deleted_per_s_alone: alone,
        batch_p50_ms: percentile(&batches, 50),
        batch_p99_ms: percentile(&batches, 99),
    };
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let Figures { sagas_per_s_without, sagas_per_s_with, deleted_per_s_beside, .. } = figures;
    println!("engine without retention {sagas_per_s_without:>8.0} sagas/s");
    println!(
        "engine with retention    {sagas_per_s_with:>8.0} sagas/s, {deleted_per_s_beside:.0} deleted/s"
    );
    println!(
        "deleting alone           {alone:>8.0} deleted/s, batches of {BATCH}: p50 {:.1} ms, p99 {:.1} ms",
        figures.batch_p50_ms, figures.batch_p99_ms
    );
    Ok(())
}

/// Closed loop with a worker of its own: sagas per second, and how many.
async fn engine(
    options: &Options,
    store: &Arc<dyn Store>,
    numbers: &Arc<AtomicU64>,
    retention: Option<Duration>,
) -> anyhow::Result<(f64, u64)> {
    let mut builder = Worker::builder(store.clone())
        .register(workload::definition(false)?)
        .concurrency_max(options.concurrency as usize + 16);
    if let Some(age) = retention {
        builder = builder.retention(age);
    }
    let worker = builder.start().await?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(options.seconds);
    let clients: Vec<_> = (0..options.concurrency)
        .map(|_| tokio::spawn(place_orders(worker.client().clone(), numbers.clone(), until)))
        .collect();
    let mut ran = 0;
    for client in clients {
        ran += client.await??;
    }
    let per_s = ran as f64 / begun.elapsed().as_secs_f64();
    worker.shutdown().await;
    Ok((per_s, ran))
}

async fn place_orders(
    client: Client,
    numbers: Arc<AtomicU64>,
    until: Instant,
) -> anyhow::Result<u64> {
    let mut ran = 0;
    while Instant::now() < until {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let start = client.start(ORDER, &Order::new(number)).key(format!("order-{number}"));
        let saga = start.await?;
        let verdict = saga.verdict().await?;
        ensure!(verdict == Verdict::Completed, "saga {} ended {verdict}", saga.id);
        ran += 1;
    }
    Ok(ran)
}

async fn on_record(store: &Arc<dyn Store>) -> anyhow::Result<u64> {
    Ok(store.counts().await?.iter().map(|(_, sagas)| sagas).sum())
}

/// Deletes what is left, at most for the length of a run: per second, and the time of each batch.
async fn delete_alone(
    options: &Options,
    store: &Arc<dyn Store>,
) -> anyhow::Result<(f64, Vec<Duration>)> {
    let (begun, mut deleted, mut batches) = (Instant::now(), 0, Vec::new());
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        let batch = Instant::now();
        match store.forget(KEPT, BATCH).await? {
            0 => break,
            sagas => deleted += sagas,
        }
        batches.push(batch.elapsed());
    }
    let per_s = f64::from(deleted) / begun.elapsed().as_secs_f64();
    batches.sort_unstable();
    batches.first().context("nothing was left to delete alone: ask for more --finished sagas")?;
    Ok((per_s, batches))
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
}
