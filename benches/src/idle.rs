//! What doing nothing costs: statements per second of idle workers while sagas wait.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use saga_core::{BreakerPolicy, Definition, Failure, RetryPolicy, Status, Step};
use saga_store::connect;
use saga_worker::Worker;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use throwaway_postgres::{Cluster, Settings};
use tokio::time::{Instant, sleep};

/// The definition of the sagas that wait.
const PATIENT: &str = "bench-patient";
/// How long each of them waits.
const WAIT: Duration = Duration::from_secs(3_600);
/// How long the sagas may take to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// All statements of this database so far, but for the ones that ask about them.
const CALLS: &str = "SELECT query, calls::int8 FROM pg_stat_statements
    INNER JOIN pg_database ON pg_database.oid = pg_stat_statements.dbid
    WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%'";

/// Where the sagas wait: statements are counted by the server.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Server {
    /// A throwaway PostgreSQL with pg_stat_statements
    Postgres,
}

/// Figures of the idle bench.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas wait
    #[arg(long, value_enum, default_value = "postgres")]
    store: Server,

    /// Workers, each with connections of its own as in a process of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,

    /// Sagas that wait for an hour
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    waiting: u32,

    /// How long statements are counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    bench: &'static str,
    store: Server,
    workers: u32,
    waiting: u32,
    seconds: f64,
    statements_per_s: f64,
    by_statement: Vec<Share>,
}

/// What one statement adds.
#[derive(Serialize)]
struct Share {
    statement: String,
    per_s: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let preload = ("shared_preload_libraries".to_owned(), "pg_stat_statements".to_owned());
    let cluster = Cluster::start(&Settings { server: vec![preload] }).context(
        "a server with pg_stat_statements: install PostgreSQL's contrib package with the server",
    )?;
    let url = cluster.create_database("idle")?;
    let mut workers = Vec::new();
    for _ in 0..options.workers {
        workers.push(Worker::builder(connect(&url).await?).register(patient()?).start().await?);
    }
    for number in 0..options.waiting {
        let worker = &workers[number as usize % workers.len()];
        worker.start(PATIENT, &number).await?;
    }
    let mut db = PgConnection::connect(&url).await?;
    sqlx::query("CREATE EXTENSION pg_stat_statements").execute(&mut db).await?;
    settle(&mut db, options.waiting).await?;
    let figures = count(&mut db, options).await?;
    for worker in workers {
        let counts = worker.counts().await?;
        let alive: u64 =
            counts.iter().filter(|(status, _)| status.is_alive()).map(|(_, n)| n).sum();
        ensure!(u64::from(options.waiting) == alive, "{alive} sagas still wait");
        worker.shutdown().await;
    }
    print(options, &figures)
}

/// A saga whose only step asks to be called again in an hour.
fn patient() -> anyhow::Result<Definition> {
    let not_yet = async || Err::<(), _>(Failure::not_yet(WAIT, "in an hour"));
    let lenient = BreakerPolicy { failures_to_open: u32::MAX, ..BreakerPolicy::default() };
    let step = Step::retriable("wait", not_yet).retry(RetryPolicy::new(100, WAIT));
    Ok(Definition::new(PATIENT, [step.breaker(lenient)])?)
}

/// Waits until nobody holds any of the sagas.
async fn settle(db: &mut PgConnection, waiting: u32) -> anyhow::Result<()> {
    let since = Instant::now();
    let resting = "SELECT count(*) FROM saga
        WHERE owner IS NULL AND status = $1 AND next_wake_at IS NOT NULL";
    loop {
        let resting: i64 =
            sqlx::query_scalar(resting).bind(Status::Running.as_str()).fetch_one(&mut *db).await?;
        if resting == i64::from(waiting) {
            return Ok(());
        }
        ensure!(since.elapsed() < SETTLE_MAX, "only {resting} of {waiting} sagas came to rest");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn count(db: &mut PgConnection, options: &Options) -> anyhow::Result<Figures> {
    // What the last sagas left to do, such as looks at what else is due, is no idling.
    sleep(Duration::from_secs(2)).await;
    sqlx::query("SELECT pg_stat_statements_reset()").execute(&mut *db).await?;
    let since = Instant::now();
    sleep(Duration::from_secs(options.seconds)).await;
    let rows = sqlx::query(CALLS).fetch_all(&mut *db).await?;
    let seconds = since.elapsed().as_secs_f64();
    let mut by_statement = Vec::new();
    for row in rows {
        let (query, calls): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        by_statement.push(Share { statement: shorten(&query), per_s: calls as f64 / seconds });
    }
    by_statement.sort_by(|a, b| b.per_s.total_cmp(&a.per_s));
    Ok(Figures {
        bench: "idle",
        store: options.store,
        workers: options.workers,
        waiting: options.waiting,
        seconds,
        statements_per_s: by_statement.iter().map(|share| share.per_s).sum(),
        by_statement,
    })
}

/// The first words of a statement, without its comments.
fn shorten(query: &str) -> String {
    let lines = query.lines().map(str::trim).filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join(" ").chars().take(60).collect()
}

fn print(options: &Options, figures: &Figures) -> anyhow::Result<()> {
    if options.json {
        println!("{}", serde_json::to_string(figures)?);
        return Ok(());
    }
    let Figures { workers, waiting, statements_per_s, .. } = figures;
    println!("{workers} workers, {waiting} waiting sagas: {statements_per_s:.1} statements/s");
    for Share { statement, per_s } in &figures.by_statement {
        println!("{per_s:>8.2}  {statement}");
    }
    Ok(())
}
