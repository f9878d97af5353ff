//! What happens in that process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use saga_core::{
    BoxFuture, BreakerPolicy, Call, Definition, DefinitionError, Failure, Op, Payload, RetryPolicy,
    Step, StepContext, Verdict,
};
use saga_worker::{Client, Worker};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Books, Fate, Served};
use crate::workload::Order;

/// The definition of these sagas.
const NAME: &str = "bench-process";
/// Steps of each saga, the second of which is the pivot.
pub(crate) const STEPS: u64 = 3;
/// How long a sleeping saga sleeps, and how long a call may take.
const LONG: Duration = Duration::from_secs(3_600);
/// Starts at once.
const STARTS_MAX: usize = 64;

/// Runs a worker, and starts the sagas that its standard input asks for, until that ends.
pub(crate) fn serve(options: &Served) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(obey(options))?;
    runtime.shutdown_background();
    Ok(())
}

async fn obey(options: &Served) -> anyhow::Result<()> {
    let books = match &options.books {
        Some(path) => Some(Books::open(path).await.context("the participants' books")?),
        None => None,
    };
    let reached = Arc::new(Semaphore::new(0));
    let participant = Participant { books, fate: options.fate, reached: reached.clone() };
    let worker = Worker::builder(saga_store::connect(&options.url).await?)
        .register(definition(&participant)?)
        .concurrency_max(options.concurrency_max)
        .lease_ttl(Duration::from_millis(options.lease_ms))
        .start()
        .await?;
    println!("at work");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<_> = line.split(' ').collect();
        let ["start", first, count] = words[..] else { bail!("`{line}` is no order") };
        let (first, count) = (first.parse()?, count.parse::<u32>()?);
        start(worker.client(), first..first + u64::from(count), options.fate).await?;
        // Given by the participant, one for each saga that has got to its pivot.
        reached.acquire_many(count).await?.forget();
        println!("reached {count}");
    }
    Ok(())
}

/// Starts a saga for each number and, where they go through, waits for their verdicts.
async fn start(client: &Client, numbers: std::ops::Range<u64>, fate: Fate) -> anyhow::Result<()> {
    let mut starts = JoinSet::new();
    for number in numbers {
        while starts.len() >= STARTS_MAX {
            starts.join_next().await.context("one is under way")???;
        }
        let client = client.clone();
        starts.spawn(async move {
            let start = client.start(NAME, &Order::new(number)).key(format!("saga-{number}"));
            let saga = start.await?;
            if fate == Fate::Finished {
                let verdict = saga.verdict().await?;
                ensure!(verdict == Verdict::Completed, "saga {} ended {verdict}", saga.id);
            }
            anyhow::Ok(())
        });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    Ok(())
}

/// A compensatable step, the pivot, and a retriable one.
fn definition(participant: &Participant) -> Result<Definition, DefinitionError> {
    let (call, undo) = (participant.clone(), participant.clone());
    let reserve = Step::compensatable_calls::<Payload>("reserve", call.clone(), undo);
    let capture = Step::pivot_call::<Payload>("capture", call.clone());
    let confirm = Step::retriable_call::<Payload>("confirm", call);
    // Those who are asked to come again are no failures of the participant.
    let lenient = BreakerPolicy { failures_to_open: u32::MAX, ..BreakerPolicy::default() };
    let patient = |step: Step| {
        step.breaker(lenient.clone()).timeout(LONG).retry(RetryPolicy::new(100, LONG).capped(LONG))
    };
    Definition::new(NAME, [reserve, capture, confirm].map(patient))
}

/// Who carries out all steps.
#[derive(Clone)]
struct Participant {
    books: Option<Books>,
    fate: Fate,
    /// Gets a permit whenever a saga has got to its pivot.
    reached: Arc<Semaphore>,
}

impl Call for Participant {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let Self { books, fate, reached } = self.clone();
        Box::pin(async move {
            if context.op == Op::Compensation {
                return Err(Failure::rejected("nothing here is ever compensated"));
            }
            if let Some(books) = books {
                books.enter(&context).await?;
            }
            if &*context.step != "capture" {
                return Ok(Payload::null());
            }
            reached.add_permits(1);
            match fate {
                Fate::Finished => Ok(Payload::null()),
                Fate::Sleeping => Err(Failure::not_yet(LONG, "in an hour")),
                Fate::Running => std::future::pending().await,
            }
        })
    }
}
