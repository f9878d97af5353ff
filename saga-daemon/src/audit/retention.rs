//! Entries leave after their age, a few at a time, by whichever daemon is there.

use std::time::Duration;

use saga_core::store::StoreError;
use tokio::time::{Instant, sleep};

use crate::service::App;

/// How long entries are kept unless it is said otherwise: a year, and time to look at it.
pub(crate) const RETENTION: Duration = Duration::from_secs(400 * 86_400);

/// Entries deleted at once.
const BATCH: u32 = 200;
/// Shortest pause between two batches.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// A batch that took so long is followed by a pause so many times as long.
const REST: u32 = 4;
/// Shortest and longest time between two looks for what may leave.
const LOOK_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3_600)];

/// Deletes entries older than the configured age until the daemon ends.
pub(crate) async fn shorten(app: App) {
    let Some(age) = app.audit_retention() else { return };
    let [shortest, longest] = LOOK_EVERY;
    let working = async {
        loop {
            if let Err(error) = shorten_once(&app, age).await {
                tracing::warn!(%error, "cannot delete old audit entries, trying again later");
            }
            sleep((age / 10).clamp(shortest, longest)).await;
        }
    };
    tokio::select! {
        biased;
        () = app.closing().cancelled() => {}
        () = working => {}
    }
}

async fn shorten_once(app: &App, age: Duration) -> Result<(), StoreError> {
    loop {
        let begun = Instant::now();
        if app.client().store().forget_audit(age, BATCH).await? == 0 {
            return Ok(());
        }
        sleep(begun.elapsed().saturating_mul(REST).max(PAUSE_MIN)).await;
    }
}
