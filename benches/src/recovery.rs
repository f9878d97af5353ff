//! Recovery: a worker's process is killed with many sagas in flight, and others take them over.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::load::StoreKind;
use crate::look::Look;
use crate::machine;
use crate::worker_process::{Books, Fate, STEPS, Served, WorkerProcess, check_books};

/// Room of the first worker beyond the sagas in flight: a claim takes up to 64 places while it looks,
/// and a saga that is started meanwhile must not find the worker full.
const ROOM: usize = 128;
/// How often the bench looks whether all sagas have ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long nothing may get any further, once the lease is over.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

const HELD: &str = "SELECT count(*) FROM saga WHERE owner IS NOT NULL AND ended_at IS NULL";
const EPOCH: &str = "SELECT max(epoch) FROM saga";
/// Of the one worker that still owns sagas, or of the first of several.
const LEASE: &str = "SELECT min(lease_until) FROM saga_worker
    WHERE id IN (SELECT owner FROM saga WHERE owner IS NOT NULL AND epoch = 0)";
const ENDED: &str = "SELECT count(*) FROM saga WHERE ended_at IS NOT NULL";
const COMPLETED: &str = "SELECT count(*) FROM saga WHERE status = 'completed'";
const LAST_END: &str = "SELECT max(ended_at) FROM saga";
/// For each saga, the first row of its log that a new owner wrote.
const MOVED: &str = "SELECT min(at) FROM saga_log WHERE epoch > 0 GROUP BY saga_id";

/// A worker that dies with sagas in flight.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored: sqlite or postgres
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,

    /// Sagas in flight when the worker is killed, each in a call that does not return
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,

    /// Workers that survive, each a process
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,

    /// Most sagas that each of those drives at once
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,

    /// How long after its last heartbeat a worker's sagas may be taken over
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1_000..=600_000))]
    lease_ms: u64,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    bench: &'static str,
    store: StoreKind,
    in_flight: u32,
    /// Survivors, and how many sagas each of them drives at once.
    workers: u8,
    concurrency: u32,
    lease_ms: u64,
    #[serde(flatten)]
    times: Times,
    /// Sagas that got a new owner per second, from the end of the lease to the last one.
    moved_per_s: f64,
    /// Entries in the books, of which there is one for each step of each saga.
    effects: u64,
}

/// Milliseconds after the kill. A saga moves when a new owner has decided what the next row of its
/// log says.
#[derive(Debug, PartialEq, Serialize)]
struct Times {
    lease_end_ms: f64,
    first_ms: f64,
    half_ms: f64,
    all_ms: f64,
    /// When the last saga had its verdict.
    ended_ms: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    machine::tell();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(options))?;
    figures.print(options)
}

async fn measure(options: &Options) -> anyhow::Result<Figures> {
    let (database, folder) = (Database::fresh(options.store)?, tempfile::tempdir()?);
    let url = database.prepare().await?;
    let books = folder.path().join("books.db");
    // Made before several processes open it.
    drop(Books::open(&books).await?);
    let mut look = Look::open(&url).await?;
    let sagas = u64::from(options.in_flight);
    let mut victim = doomed(options, &url, &books, folder.path()).await?;
    let mut survivors = Vec::new();
    for _ in 0..options.workers {
        let survivor = Served::new(&url, Fate::Finished, options.concurrency as usize);
        let survivor = survivor.lease_ms(options.lease_ms).books(&books);
        survivors.push(survivor.start(folder.path()).await?);
    }
    let held = look.count(HELD).await?;
    ensure!(held == sagas, "{sagas} sagas should be in flight before the kill, but {held} are");
    ensure!(
        look.number(EPOCH).await? == Some(0),
        "sagas have been claimed before the kill: the first worker lost its lease; on this machine, \
         ask for fewer --in-flight or a longer --lease-ms"
    );
    let killed_at = micros()?;
    victim.kill().await?;
    let lease_end = look.number(LEASE).await?.context(
        "the lease of the killed worker was over before it could be looked at: ask for a longer --lease-ms",
    )?;
    all_ended(&mut look, sagas, Duration::from_millis(options.lease_ms)).await?;
    let completed = look.count(COMPLETED).await?;
    ensure!(completed == sagas, "{sagas} sagas should be completed, but {completed} are");
    let mut moved = look.numbers(MOVED).await?;
    ensure!(
        moved.len() as u64 == sagas,
        "{sagas} sagas should have moved to a new owner, but {} have",
        moved.len()
    );
    check_books(&books, sagas * STEPS)?;
    moved.sort_unstable();
    let last_end = look.number(LAST_END).await?.context("no saga has ended")?;
    let times = Times::of(killed_at, lease_end, &moved, last_end);
    Ok(Figures {
        bench: "recovery",
        store: options.store,
        in_flight: options.in_flight,
        workers: options.workers,
        concurrency: options.concurrency,
        lease_ms: options.lease_ms,
        moved_per_s: sagas as f64 / ((times.all_ms - times.lease_end_ms) / 1_000.0),
        effects: sagas * STEPS,
        times,
    })
}

/// A worker with all the sagas in flight: the effect of the pivot is in the books, its answer is not
/// on its way.
async fn doomed(
    options: &Options,
    url: &str,
    books: &Path,
    folder: &Path,
) -> anyhow::Result<WorkerProcess> {
    let worker = Served::new(url, Fate::Running, options.in_flight as usize + ROOM);
    let mut worker = worker.lease_ms(options.lease_ms).books(books).start(folder).await?;
    worker.start_sagas(0, u64::from(options.in_flight)).await?;
    Ok(worker)
}

async fn all_ended(look: &mut Look, sagas: u64, lease: Duration) -> anyhow::Result<()> {
    let (mut ended, mut since) = (0, Instant::now());
    let patience = lease + STANDSTILL_MAX;
    loop {
        let now = look.count(ENDED).await?;
        if now == sagas {
            return Ok(());
        }
        if now > ended {
            (ended, since) = (now, Instant::now());
        }
        ensure!(
            since.elapsed() < patience,
            "{ended} of {sagas} sagas have ended, and none in the last {} s",
            patience.as_secs()
        );
        sleep(LOOK_EVERY).await;
    }
}

fn micros() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock")?;
    Ok(i64::try_from(now.as_micros())?)
}

impl Times {
    /// Of moments in microseconds; those at which sagas moved are sorted.
    fn of(killed_at: i64, lease_end: i64, moved: &[i64], last_end: i64) -> Self {
        let after = |moment: i64| (moment - killed_at) as f64 / 1_000.0;
        let nth = |nth: usize| moved.get(nth).map_or(f64::NAN, |moment| after(*moment));
        Self {
            lease_end_ms: after(lease_end),
            first_ms: nth(0),
            half_ms: nth((moved.len().saturating_sub(1)) / 2),
            all_ms: nth(moved.len().saturating_sub(1)),
            ended_ms: after(last_end),
        }
    }
}

impl Figures {
    fn print(&self, options: &Options) -> anyhow::Result<()> {
        if options.json {
            return machine::print_json(self);
        }
        let Self { in_flight, workers, concurrency, lease_ms, moved_per_s, effects, .. } = self;
        let Times { lease_end_ms, first_ms, half_ms, all_ms, ended_ms } = self.times;
        println!(
            "{in_flight} sagas in flight on {}, a lease of {lease_ms} ms, survivors: {workers} with \
             room for {concurrency} each",
            options.store.name()
        );
        println!("after the kill {:>10}", "ms");
        for (what, ms) in [
            ("lease over", lease_end_ms),
            ("first moving", first_ms),
            ("half moving", half_ms),
            ("all moving", all_ms),
            ("all ended", ended_ms),
        ] {
            println!("{what:<14} {ms:>10.0}");
        }
        println!("moving to a new owner: {moved_per_s:.0} sagas/s from the end of the lease");
        println!("books: {effects} effects, each of them once");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_the_kill_and_half_is_when_half_of_them_move() {
        let times = Times::of(1_000, 5_000, &[6_000, 7_000, 8_000, 9_000], 11_000);
        let [lease_end_ms, first_ms, half_ms, all_ms, ended_ms] = [4.0, 5.0, 6.0, 8.0, 10.0];
        assert_eq!(times, Times { lease_end_ms, first_ms, half_ms, all_ms, ended_ms });
    }
}
