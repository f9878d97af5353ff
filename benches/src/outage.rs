//! The database goes away under load and comes back: how soon the engine is itself again, and that no
//! saga is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use saga_core::Verdict;
use saga_worker::{Client, Worker};
use serde::Serialize;
use throwaway_postgres::Cluster;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::database::Database;
use crate::load::StoreKind;
use crate::look::Look;
use crate::workload::{self, ORDER, Order};

/// How long the load runs before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// The time over which the throughput is taken that is compared with the one before.
const WINDOW: Duration = Duration::from_secs(1);
/// How often the bench looks at the throughput.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of the throughput before has to be back.
const BACK: f64 = 0.9;
/// The pause of a client whose start or wait failed.
const PAUSE: Duration = Duration::from_millis(20);
/// How long clients may take for their last sagas.
const FINISH_MAX: Duration = Duration::from_secs(60);

const STORED: &str = "SELECT count(*) FROM saga";
const COMPLETED: &str = "SELECT count(*) FROM saga WHERE status = 'completed'";

/// A server that is stopped under load.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored: only postgres has a server to stop
    #[arg(long, value_enum, default_value = "postgres")]
    store: StoreKind,

    /// How long the server is away
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// How long the throughput is taken before the server is stopped
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    before: u64,

    /// How long the throughput may take to come back
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    back_within: u64,

    /// Clients at once, each with one saga under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    bench: &'static str,
    store: StoreKind,
    concurrency: u32,
    /// How long the server was away, from the order to stop to the order to start.
    away_s: f64,
    sagas_per_s_before: f64,
    /// After the order to start: the server takes connections, the first verdict, and the end of the
    /// first second with nine tenths of the throughput before.
    server_ms: u64,
    first_verdict_ms: u64,
    back_ms: u64,
    sagas: u64,
    lost: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let database = Database::fresh(options.store)?;
    let url = database.url().unwrap_or_default();
    let Database::Cluster(mut cluster) = database else {
        bail!(
            "an outage needs a PostgreSQL server of its own: use --store postgres, and unset {}",
            throwaway_postgres::URL_VARIABLE
        );
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options, &url, &mut cluster))?.print(options)
}

/// What the clients have done so far.
#[derive(Debug, Default)]
struct Progress {
    next: AtomicU64,
    verdicts: AtomicU64,
    stop: AtomicBool,
}

async fn measure(options: &Options, url: &str, cluster: &mut Cluster) -> anyhow::Result<Figures> {
    let worker = Worker::builder(saga_store::connect(url).await?)
        .register(workload::definition(false)?)
        .concurrency_max(options.concurrency as usize + 16);
    let worker = worker.start().await?;
    let progress = Arc::new(Progress::default());
    let mut clients = JoinSet::new();
    for _ in 0..options.concurrency {
        clients.spawn(place_orders(worker.client().clone(), Arc::clone(&progress)));
    }
    sleep(WARM_UP).await;
    let before = Duration::from_secs(options.before);
    let counted = progress.verdicts.load(Ordering::Relaxed);
    sleep(before).await;
    let counted = progress.verdicts.load(Ordering::Relaxed) - counted;
    ensure!(counted > 0, "no saga had its verdict within {} s", options.before);
    let per_s = counted as f64 / before.as_secs_f64();

    let stopped = Instant::now();
    // These block, and the clients go on meanwhile on other threads.
    tokio::task::block_in_place(|| cluster.quit())?;
    sleep_until(stopped + Duration::from_secs(options.seconds)).await;
    // What was answered before the server went away must not be taken for a sign that it is back.
    let answered = progress.verdicts.load(Ordering::Relaxed);
    let started = Instant::now();
    tokio::task::block_in_place(|| cluster.restart())?;
    let server = started.elapsed();
    let (first, back) = recovery(options, &progress, (started, answered), per_s).await?;

    progress.stop.store(true, Ordering::Relaxed);
    let finished = tokio::time::timeout(FINISH_MAX, async {
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok::<_, anyhow::Error>(())
    });
    finished.await.context("clients still wait for verdicts")??;
    worker.shutdown().await;
    let (sagas, lost) = count(url, &progress).await?;
    Ok(Figures {
        bench: "outage",
        store: options.store,
        concurrency: options.concurrency,
        away_s: (started - stopped).as_secs_f64(),
        sagas_per_s_before: per_s,
        server_ms: ms(server),
        first_verdict_ms: ms(first),
        back_ms: ms(back),
        sagas,
        lost,
    })
}

/// One client: an order is placed under its key until that is acknowledged, and waited for until there
/// is a verdict, however often the store fails in between.
async fn place_orders(client: Client, progress: Arc<Progress>) -> anyhow::Result<()> {
    while !progress.stop.load(Ordering::Relaxed) {
        let number = progress.next.fetch_add(1, Ordering::Relaxed);
        let order = Order::new(number);
        let started = loop {
            match client.start(ORDER, &order).key(format!("order-{number}")).await {
                Ok(started) => break started,
                Err(_) => sleep(PAUSE).await,
            }
        };
        let verdict = loop {
            match started.verdict().await {
                Ok(verdict) => break verdict,
                Err(_) => sleep(PAUSE).await,
            }
        };
        ensure!(verdict == Verdict::Completed, "saga {} ended {verdict}", started.id);
        progress.verdicts.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// How long after the order to start the first verdict came, and the throughput was back.
async fn recovery(
    options: &Options,
    progress: &Progress,
    (started, answered): (Instant, u64),
    per_s: f64,
) -> anyhow::Result<(Duration, Duration)> {
    let (mut first, mut seen) = (None, Vec::new());
    while started.elapsed() < Duration::from_secs(options.back_within) {
        sleep(LOOK_EVERY).await;
        let (now, verdicts) = (Instant::now(), progress.verdicts.load(Ordering::Relaxed));
        if verdicts > answered && first.is_none() {
            first = Some(now - started);
        }
        seen.push((now, verdicts));
        if let Some(first) = first.filter(|_| is_back(&seen, per_s)) {
            return Ok((first, now - started));
        }
    }
    let last = seen.last().map_or(0, |(_, verdicts)| verdicts - answered);
    bail!(
        "{} s after the server was started the throughput is not back: {last} verdicts since then, \
         {per_s:.0} a second before",
        options.back_within
    )
}

/// Whether the last second had enough verdicts.
fn is_back(seen: &[(Instant, u64)], per_s: f64) -> bool {
    let Some((now, verdicts)) = seen.last() else { return false };
    let before = seen.iter().rev().find(|(at, _)| *now - *at >= WINDOW);
    before.is_some_and(|(at, then)| {
        (verdicts - then) as f64 / (*now - *at).as_secs_f64() >= BACK * per_s
    })
}

/// How many sagas there are, and how many of those that were acknowledged are not completed.
async fn count(url: &str, progress: &Progress) -> anyhow::Result<(u64, u64)> {
    let mut look = Look::open(url).await?;
    let (stored, completed) = (look.count(STORED).await?, look.count(COMPLETED).await?);
    let acknowledged = progress.next.load(Ordering::Relaxed);
    ensure!(
        stored <= acknowledged,
        "{stored} sagas are stored of {acknowledged} orders: some were started twice"
    );
    Ok((stored, acknowledged - completed.min(acknowledged)))
}

impl Figures {
    fn print(&self, options: &Options) -> anyhow::Result<()> {
        if options.json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!(
                "{:.0} sagas/s before, with {} clients",
                self.sagas_per_s_before, self.concurrency
            );
            println!("server away for {:.1} s, and {} ms to come up", self.away_s, self.server_ms);
            println!("first verdict {} ms after its start", self.first_verdict_ms);
            println!("nine tenths of the throughput after {} ms", self.back_ms);
            println!("{} sagas, {} of them lost", self.sagas, self.lost);
        }
        ensure!(self.lost == 0, "{} sagas were lost", self.lost);
        Ok(())
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throughput_is_back_when_a_whole_second_had_enough() {
        let begun = Instant::now();
        let at = |ms: u64, verdicts: u64| (begun + Duration::from_millis(ms), verdicts);
        assert!(!is_back(&[], 100.0));
        assert!(!is_back(&[at(0, 0), at(500, 90)], 100.0), "half a second says nothing");
        assert!(is_back(&[at(0, 0), at(500, 40), at(1_000, 90)], 100.0));
        assert!(!is_back(&[at(0, 0), at(500, 40), at(1_000, 89)], 100.0));
        assert!(!is_back(&[at(0, 0), at(2_000, 100)], 100.0), "a longer time needs more");
    }
}
