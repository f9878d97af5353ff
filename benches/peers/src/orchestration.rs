//! The saga as duroxide's documentation has it, on whatever store: an orchestration of three
//! activities, whose own code compensates those that went before a failed one.
//!
//! Differs from ours: every activity is at least once, and a failed one is an error that the
//! orchestration's own code has to compensate; there is no unknown outcome and no pivot. A client
//! asks for the result again and again, after 5 ms first and after 100 ms in the end.

use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{ObservabilityConfig, Runtime, RuntimeOptions};
use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
};

use crate::{Flags, input, measure};

/// Longer than any saga here takes.
const LONG: Duration = Duration::from_secs(120);

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
pub async fn run(
    flags: &Flags,
    store: Arc<dyn Provider>,
    options: RuntimeOptions,
) -> anyhow::Result<()> {
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
    // It would print a line for each activity that fails.
    let observability =
        ObservabilityConfig { log_level: "error".to_owned(), ..ObservabilityConfig::default() };
    let options = RuntimeOptions { observability, ..options };
    let runtime =
        Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
    let (kind, expected) =
        if flags.fail_last { ("declined", "compensated") } else { ("order", "done") };
    let client = Arc::new(Client::new(store));
    measure(flags, move |n| {
        let client = client.clone();
        async move {
            let id = format!("saga-{n}");
            while let Err(error) = client.start_orchestration(&id, kind, input(n)).await {
                anyhow::ensure!(error.is_retryable(), "{error}");
            }
            match client.wait_for_orchestration(&id, LONG).await? {
                OrchestrationStatus::Completed { output, .. } if output == expected => Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        }
    })
    .await?;
    runtime.shutdown(Some(1_000)).await;
    Ok(())
}
