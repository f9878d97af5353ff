//! The saga as duroxide's documentation has it, on whatever store: an orchestration of three
//! activities, whose own code compensates those that went before a failed one.
//!
//! Differs from ours: every activity is at least once, and a failed one is an error that the
//! orchestration's own code has to compensate; there is no unknown outcome and no pivot. A client
//! asks for the result again and again, after 5 ms first and after 100 ms in the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{ObservabilityConfig, Runtime, RuntimeOptions};
use duroxide::{
    ActivityContext, Client, ClientError, ErrorDetails, OrchestrationContext,
    OrchestrationRegistry, OrchestrationStatus,
};

use crate::{Flags, input, measure};

/// Longer than any saga here takes.
const LONG: Duration = Duration::from_secs(120);
/// Before a client repeats what has failed: the first pause of the client's own waiting.
const PAUSE: Duration = Duration::from_millis(5);
/// Below so many clients, latency is what counts.
const FEW: usize = 8;

/// The flags of duroxide's programs.
#[derive(Debug, Clone, Parser)]
pub struct Options {
    #[command(flatten)]
    pub flags: Flags,
    /// Dispatchers of orchestrations, and as many of activities.
    #[arg(long)]
    dispatchers: Option<usize>,
    /// How often each looks for work.
    #[arg(long)]
    poll_ms: Option<u64>,
}

impl Options {
    /// What is fastest here for so many clients; the README has the figures.
    fn runtime(&self) -> RuntimeOptions {
        let (dispatchers, poll_ms) = if self.flags.concurrency < FEW { (2, 2) } else { (8, 50) };
        let dispatchers = self.dispatchers.unwrap_or(dispatchers);
        RuntimeOptions {
            orchestration_concurrency: dispatchers,
            worker_concurrency: dispatchers,
            dispatcher_min_poll_interval: Duration::from_millis(self.poll_ms.unwrap_or(poll_ms)),
            // It would print a line for each activity that fails.
            observability: ObservabilityConfig {
                log_level: "error".to_owned(),
                ..ObservabilityConfig::default()
            },
            ..RuntimeOptions::default()
        }
    }
}

async fn step(_: ActivityContext, input: String) -> Result<String, String> {
    Ok(input)
}

async fn reject(_: ActivityContext, _: String) -> Result<String, String> {
    Err("no".to_owned())
}

async fn order(context: OrchestrationContext, input: String) -> Result<String, String> {
    saga(context, input, "capture-payment").await
}

async fn declined(context: OrchestrationContext, input: String) -> Result<String, String> {
    saga(context, input, "decline-payment").await
}

async fn saga(
    context: OrchestrationContext,
    input: String,
    payment: &str,
) -> Result<String, String> {
    let mut undo = Vec::new();
    for (action, compensation) in [
        ("reserve-stock", Some("release-stock")),
        ("redeem-coupon", Some("restore-coupon")),
        (payment, None),
    ] {
        if context.schedule_activity(action, input.clone()).await.is_err() {
            for compensation in undo.into_iter().rev().flatten() {
                context.schedule_activity(compensation, input.clone()).await?;
            }
            return Ok("compensated".to_owned());
        }
        undo.push(compensation);
    }
    Ok("done".to_owned())
}

/// Runs the workload on this store.
pub async fn run(options: &Options, store: Arc<dyn Provider>) -> anyhow::Result<()> {
    let flags = &options.flags;
    let activities = ActivityRegistry::builder()
        .register("reserve-stock", step)
        .register("redeem-coupon", step)
        .register("capture-payment", step)
        .register("decline-payment", reject)
        .register("restore-coupon", step)
        .register("release-stock", step)
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("order", order)
        .register("declined", declined)
        .build();
    let runtime = options.runtime();
    let runtime =
        Runtime::start_with_options(store.clone(), activities, orchestrations, runtime).await;
    let (kind, expected) =
        if flags.fail_last { ("declined", "compensated") } else { ("order", "done") };
    let client = Arc::new(Client::new(store));
    measure(flags, move |n| {
        let client = client.clone();
        async move {
            // One that failed for its database is started again, under another id.
            for attempt in 1.. {
                let id = format!("saga-{n}-{attempt}");
                persist(|| client.start_orchestration(&id, kind, input(n))).await?;
                match persist(|| client.wait_for_orchestration(&id, LONG)).await? {
                    OrchestrationStatus::Completed { output, .. } if output == expected => break,
                    OrchestrationStatus::Failed {
                        details: ErrorDetails::Infrastructure { retryable: true, .. },
                        ..
                    } => {}
                    other => anyhow::bail!("{other:?}"),
                }
            }
            Ok(())
        }
    })
    .await?;
    runtime.shutdown(Some(1_000)).await;
    Ok(())
}

/// Asks again as long as the error says that this may help, as it does of a database that is locked.
async fn persist<T, F>(call: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let begun = Instant::now();
    loop {
        match call().await {
            Err(error) if error.is_retryable() && begun.elapsed() < LONG => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}
