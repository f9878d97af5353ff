//! Retention: what ended long ago is deleted, a little at a time.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use saga_core::store::StoreError;
use tokio::time::{Instant, sleep};

use crate::runtime::Runtime;

/// Sagas deleted at once.
const BATCH: u32 = 100;
/// Shortest pause between two batches.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// A batch that took so long is followed by a pause so many times as long, times the number of
/// workers, because each of them does the same: so deleting takes up at most a fifth of the time
/// of one connection, and less when the store is busy.
const REST: u32 = 4;
/// Shortest and longest time between two looks for what may leave.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Deletes what ended longer ago than the configured age, for as long as the worker holds its
/// lease and does not drain.
pub(super) async fn forget_forever(runtime: &Runtime) -> Infallible {
    let Some(age) = runtime.options.retention else { return pending().await };
    loop {
        sleep(until_next_look(runtime, age)).await;
        if let Err(error) = forget_ended(runtime, age).await {
            tracing::warn!(%error, "cannot delete ended sagas, trying again later");
        }
    }
}

/// A tenth of the age, from half of it to one and a half at random: the workers take turns.
fn until_next_look(runtime: &Runtime, age: Duration) -> Duration {
    let [shortest, longest] = LOOK_EVERY;
    let random = f64::from(runtime.entropy.bits() as u8) / 255.0;
    (age / 10).clamp(shortest, longest).mul_f64(0.5 + random)
}

async fn forget_ended(runtime: &Runtime, age: Duration) -> Result<(), StoreError> {
    loop {
        let begun = Instant::now();
        let forgotten = runtime.store.forget(age, BATCH).await?;
        if forgotten == 0 {
            return Ok(());
        }
        runtime.telemetry.forgotten(forgotten);
        let took = begun.elapsed();
        let workers = runtime.store.workers().await?.into_iter().filter(|worker| !worker.expired);
        let workers = u32::try_from(workers.count()).unwrap_or(u32::MAX).max(1);
        sleep(took.saturating_mul(REST.saturating_mul(workers)).max(PAUSE_MIN)).await;
    }
}
