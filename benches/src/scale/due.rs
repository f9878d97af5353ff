//! Many sagas that wait and are due at the same moment, while fresh ones go on being started.

mod fresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use saga_core::{
    BoxFuture, BreakerPolicy, Call, Definition, Failure, Op, Payload, RetryPolicy, Step,
    StepContext,
};
use saga_worker::{Client, Worker};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::database::Database;
use crate::figures::{median, percentile};
use crate::load::StoreKind;
use crate::look::Look;
use fresh::Fresh;

/// The definition of all these sagas: those that are started afresh have no other queue.
const NAME: &str = "bench-due";
/// Workers in this process, each with connections of its own.
const WORKERS: usize = 2;
/// Starts at once of sagas that are to wait.
const STARTS_MAX: usize = 64;
/// Time to spare between the last saga's falling asleep and the moment at which all are due.
const SPARE: Duration = Duration::from_secs(3);
/// How long fresh sagas are watched before that moment, at least.
const BEFORE: Duration = Duration::from_secs(1);
/// How long no waiting saga may get any further.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

const ASLEEP: &str = "SELECT count(*) FROM saga
    WHERE owner IS NULL AND ended_at IS NULL AND next_wake_at IS NOT NULL";
const COMPLETED: &str = "SELECT count(*) FROM saga WHERE status = 'completed'";
const LAST: &str = "SELECT max(ended_at) FROM saga WHERE key LIKE 'waiting-%'";
const CLAIMS: &str = "SELECT CAST(sum(epoch) AS bigint) FROM saga WHERE key LIKE 'waiting-%'";

/// What became of them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    bench: &'static str,
    store: StoreKind,
    workers: usize,
    /// From the moment at which all were due to the last verdict.
    pub(crate) seconds: f64,
    pub(crate) verdicts_per_s: f64,
    /// How often each was claimed: 1 is the least.
    pub(crate) claims_per_saga: f64,
    fresh_per_s: f64,
    /// Fresh sagas that were to start while the waiting ones ran, and their time to the verdict,
    /// counted from the moment at which each was to start.
    pub(crate) fresh: usize,
    pub(crate) fresh_p50_ms: f64,
    pub(crate) fresh_p99_ms: f64,
    /// The same while all slept.
    pub(crate) fresh_before: usize,
    pub(crate) fresh_before_p99_ms: f64,
}

impl Figures {
    /// Each figure as the median of several runs; counts are those of this one.
    pub(super) fn median(&self, runs: &[&Self]) -> Self {
        let of = |of: fn(&Self) -> f64| median(runs.iter().map(|run| of(run)).collect());
        Self {
            seconds: of(|run| run.seconds),
            verdicts_per_s: of(|run| run.verdicts_per_s),
            claims_per_saga: of(|run| run.claims_per_saga),
            fresh_p50_ms: of(|run| run.fresh_p50_ms),
            fresh_p99_ms: of(|run| run.fresh_p99_ms),
            fresh_before_p99_ms: of(|run| run.fresh_before_p99_ms),
            ..self.clone()
        }
    }
}

/// The input of such a saga.
#[derive(Serialize, Deserialize)]
struct Ticket {
    waits: bool,
    number: u64,
}

/// Puts so many sagas to sleep until one moment, and watches what that moment brings.
pub(crate) fn measure(store: StoreKind, waiting: u64) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(watch(store, waiting))
}

async fn watch(store: StoreKind, waiting: u64) -> anyhow::Result<Figures> {
    let database = Database::fresh(store)?;
    let url = database.prepare().await?;
    let (alarm, mut look) = (Alarm::default(), Look::open(&url).await?);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let worker = Worker::builder(saga_store::connect(&url).await?);
        workers.push(worker.register(definition(&alarm)?).start().await?);
    }
    let fresh = Fresh::new(workers.iter().map(|worker| worker.client().clone()).collect());
    let per_s = fresh.pace().await?;
    let patience = Duration::from_secs_f64(waiting as f64 / per_s) + SPARE;
    let due_at = micros()? + i64::try_from(patience.as_micros())?;
    alarm.due_at.store(due_at, Ordering::SeqCst);
    put_to_sleep(&fresh.clients, waiting).await?;
    asleep(&mut look, waiting, due_at - i64::try_from(BEFORE.as_micros())?).await?;
    let moment = Instant::now() + Duration::from_micros(due_at.abs_diff(micros()?));
    let (before, during) = fresh.start_until(moment, || alarm.is_over(waiting)).await?;
    let started = waiting + fresh.started();
    all_completed(&mut look, started).await?;
    for worker in workers {
        worker.shutdown().await;
    }
    let last = look.number(LAST).await?.context("no waiting saga has ended")?;
    let seconds = (last - due_at) as f64 / 1e6;
    Ok(Figures {
        bench: "scale",
        store,
        workers: WORKERS,
        seconds,
        verdicts_per_s: waiting as f64 / seconds,
        claims_per_saga: look.count(CLAIMS).await? as f64 / waiting as f64,
        fresh_per_s: fresh::PER_S,
        fresh: during.len(),
        fresh_p50_ms: percentile(&during, 50),
        fresh_p99_ms: percentile(&during, 99),
        fresh_before: before.len(),
        fresh_before_p99_ms: percentile(&before, 99),
    })
}

fn micros() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock")?;
    Ok(i64::try_from(now.as_micros())?)
}

async fn put_to_sleep(clients: &[Client], waiting: u64) -> anyhow::Result<()> {
    let mut starts = JoinSet::new();
    for (number, client) in (0..waiting).zip(clients.iter().cycle()) {
        while starts.len() >= STARTS_MAX {
            starts.join_next().await.context("one is under way")???;
        }
        let start = client.start(NAME, &Ticket { waits: true, number });
        let start = start.key(format!("waiting-{number}"));
        starts.spawn(async move { start.await.map(drop).context("starting a waiting saga") });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    Ok(())
}

/// Waits until no worker holds any of them, which must be so by then.
async fn asleep(look: &mut Look, waiting: u64, by: i64) -> anyhow::Result<()> {
    loop {
        let asleep = look.count(ASLEEP).await?;
        ensure!(
            micros()? < by,
            "only {asleep} of {waiting} sagas were asleep in time for the moment at which all are due: \
             something else keeps this machine busy; try again, or with fewer in --due"
        );
        if asleep == waiting {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The last verdicts may be on their way yet; after that, every saga has to have the right one.
async fn all_completed(look: &mut Look, started: u64) -> anyhow::Result<()> {
    let (mut completed, mut since) = (0, Instant::now());
    while completed != started {
        let now = look.count(COMPLETED).await?;
        if now > completed {
            (completed, since) = (now, Instant::now());
        }
        ensure!(
            since.elapsed() < STANDSTILL_MAX,
            "{started} sagas should be completed, but {completed} are"
        );
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Three steps, the first of which a saga may have to wait for.
fn definition(alarm: &Alarm) -> anyhow::Result<Definition> {
    let wait = Step::compensatable_calls::<Payload>("wait", alarm.clone(), alarm.clone());
    // Those that are asked to come again are no failures of the participant.
    let lenient = BreakerPolicy { failures_to_open: u32::MAX, ..BreakerPolicy::default() };
    let wait = wait.breaker(lenient).retry(RetryPolicy::new(100, Duration::from_millis(1)));
    let freeze = Step::compensatable("freeze", done, async || done().await);
    Ok(Definition::new(NAME, [wait, freeze, Step::pivot("capture", done)])?)
}

async fn done() -> Result<(), Failure> {
    Ok(())
}

/// The participant of the first step.
#[derive(Clone, Default)]
struct Alarm {
    /// In microseconds of the machine's clock.
    due_at: Arc<AtomicI64>,
    /// Calls for waiting sagas that were let through.
    woken: Arc<AtomicU64>,
    /// When the last of those came, for one that never comes.
    progress: Arc<AtomicI64>,
}

impl Alarm {
    /// Whether all waiting sagas are awake.
    fn is_over(&self, waiting: u64) -> anyhow::Result<bool> {
        let woken = self.woken.load(Ordering::SeqCst);
        let last = self.progress.load(Ordering::SeqCst).max(self.due_at.load(Ordering::SeqCst));
        let still = micros()? - last;
        ensure!(
            woken >= waiting || still < i64::try_from(STANDSTILL_MAX.as_micros())?,
            "{woken} of {waiting} sagas went on when all were due, and none in the last {} s",
            STANDSTILL_MAX.as_secs()
        );
        Ok(woken >= waiting)
    }
}

impl Call for Alarm {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let alarm = self.clone();
        Box::pin(async move {
            let ticket: Ticket = context.input.decode()?;
            if context.op == Op::Compensation {
                return Err(Failure::rejected("nothing here is ever compensated"));
            }
            let now = micros().map_err(Failure::transient)?;
            let left = alarm.due_at.load(Ordering::SeqCst) - now;
            if ticket.waits && left > 0 {
                let left = Duration::from_micros(left.unsigned_abs());
                // In whole milliseconds, and never too early.
                return Err(Failure::not_yet(
                    left + Duration::from_millis(1),
                    "not before the time",
                ));
            }
            if ticket.waits {
                alarm.progress.fetch_max(now, Ordering::SeqCst);
                alarm.woken.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Payload::null())
        })
    }
}
