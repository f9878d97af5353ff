//! duroxide on SQLite, as its README has it: an orchestration of three activities.
//!
//! Differs from ours: every activity is at least once, and a failed one is an error that the
//! orchestration's own code has to compensate; there is no unknown outcome and no pivot.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use duroxide::providers::sqlite::{SqliteOptions, SqliteProvider};
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{
    ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus,
};
use saga_peers::{Flags, input, measure};

/// Longer than any saga here takes.
const LONG: Duration = Duration::from_secs(120);

async fn step(_: ActivityContext, input: String) -> Result<String, String> {
    Ok(input)
}

async fn reject(_: ActivityContext, _: String) -> Result<String, String> {
    Err("no".to_owned())
}

async fn saga(context: OrchestrationContext, input: String) -> Result<String, String> {
    context.schedule_activity("reserve-stock", input.clone()).await?;
    context.schedule_activity("redeem-coupon", input.clone()).await?;
    context.schedule_activity("capture-payment", input).await
}

async fn failing(context: OrchestrationContext, input: String) -> Result<String, String> {
    context.schedule_activity("reserve-stock", input.clone()).await?;
    context.schedule_activity("redeem-coupon", input.clone()).await?;
    if context.schedule_activity("decline-payment", input.clone()).await.is_err() {
        context.schedule_activity("restore-coupon", input.clone()).await?;
        context.schedule_activity("release-stock", input).await?;
    }
    Ok("compensated".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let url = format!("sqlite:{}?mode=rwc", flags.store);
    let provider = SqliteProvider::new(&url, None::<SqliteOptions>).await?;
    let store = Arc::new(provider);
    let activities = ActivityRegistry::builder()
        .register("reserve-stock", step)
        .register("redeem-coupon", step)
        .register("capture-payment", step)
        .register("decline-payment", reject)
        .register("restore-coupon", step)
        .register("release-stock", step)
        .build();
    let orchestrations = OrchestrationRegistry::builder()
        .register("saga", saga)
        .register("failing", failing)
        .build();
    let options = RuntimeOptions {
        orchestration_concurrency: 8,
        worker_concurrency: 8,
        dispatcher_min_poll_interval: Duration::from_millis(50),
        ..RuntimeOptions::default()
    };
    let runtime =
        Runtime::start_with_options(store.clone(), activities, orchestrations, options).await;
    let kind = if flags.fail_last { "failing" } else { "saga" };
    let client = Arc::new(Client::new(store));
    measure(&flags, move |n| {
        let client = client.clone();
        async move {
            let id = format!("saga-{n}");
            client.start_orchestration(&id, kind, input(n)).await?;
            match client.wait_for_orchestration(&id, LONG).await? {
                OrchestrationStatus::Completed { .. } => Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        }
    })
    .await?;
    runtime.shutdown(Some(1_000)).await;
    Ok(())
}
