//! The poll loop: what is due, what was commanded, what has gone astray.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Claim, SagaRow, StoreError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use crate::executor::take_over;
use crate::lease::Tenure;
use crate::retry_schedule::RetrySchedule;
use crate::runtime::Runtime;

/// Most sagas claimed at once.
const BATCH_MAX: usize = 64;
/// Most commands looked at in one poll.
const COMMANDS_MAX: u32 = 256;
/// Shortest pause between two claims, however many hints come.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Claims what is due, again and again, until the lease is lost or the worker drains.
pub(super) async fn claim_forever(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>) {
    let mut schedule = RetrySchedule::for_store(jitter_seed(tenure));
    loop {
        let pause = match poll(runtime, tenure).await {
            Ok(Polled::Full) => Duration::ZERO,
            Ok(Polled::Drained) => {
                schedule.reset();
                idle_pause(runtime, tenure)
            }
            Err(error) => {
                tracing::warn!(worker = %tenure.worker, %error, "cannot claim, trying again");
                runtime.look_for_strays();
                schedule.next_delay().max(PAUSE_MIN)
            }
        };
        tokio::select! {
            () = tenure.lost.cancelled() => return,
            () = runtime.draining.cancelled() => return,
            () = rest(runtime, pause) => {}
        }
    }
}

/// Whether a poll found as much as it could take.
enum Polled {
    Full,
    Drained,
}

/// Looks once. It is never dropped half-way by the loop: a claim that was made has to be driven.
async fn poll(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>) -> Result<Polled, StoreError> {
    if runtime.strays_wanted() {
        drive_strays(runtime, tenure).await?;
    }
    ring_for_commands(runtime, tenure).await?;
    let mut permits = permits(runtime);
    let wanted = permits.len();
    if wanted == 0 {
        return Ok(Polled::Drained);
    }
    let claim = Claim {
        worker: tenure.worker,
        definitions: runtime.registry.references(),
        limit: u32::try_from(wanted).unwrap_or(u32::MAX),
    };
    let rows = runtime.store.claim(&claim).await?;
    let found = rows.len();
    for (row, permit) in rows.into_iter().zip(permits.drain(..)) {
        drive(runtime, tenure, row, permit);
    }
    Ok(if found == wanted { Polled::Full } else { Polled::Drained })
}

fn permits(runtime: &Runtime) -> Vec<OwnedSemaphorePermit> {
    let permit = || runtime.permits.clone().try_acquire_owned().ok();
    std::iter::from_fn(permit).take(BATCH_MAX).collect()
}

fn drive(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>, row: SagaRow, permit: OwnedSemaphorePermit) {
    let (in_task, tenure) = (runtime.clone(), tenure.clone());
    runtime.executors.spawn(async move {
        let _permit = permit;
        take_over(in_task, tenure, row).await;
    });
}

/// Drives sagas that the store holds in our name although no executor has them.
async fn drive_strays(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>) -> Result<(), StoreError> {
    let owned = match runtime.store.owned(tenure.worker).await {
        Ok(owned) => owned,
        Err(error) => {
            runtime.look_for_strays();
            return Err(error);
        }
    };
    for row in owned.into_iter().filter(|row| !runtime.is_driven(row.id)) {
        match runtime.permits.clone().try_acquire_owned() {
            Ok(permit) => drive(runtime, tenure, row, permit),
            // No room for it now: it is looked for again.
            Err(_) => runtime.look_for_strays(),
        }
    }
    Ok(())
}

/// Tells the executors of sagas with unanswered commands to look into their inbox.
async fn ring_for_commands(runtime: &Runtime, tenure: &Tenure) -> Result<(), StoreError> {
    let pending = runtime.store.pending(tenure.worker, COMMANDS_MAX).await?;
    pending.into_iter().for_each(|(id, _)| runtime.ring(id));
    Ok(())
}

/// The poll interval with a fifth of jitter, or less when a saga we let go of is due before.
fn idle_pause(runtime: &Runtime, tenure: &Tenure) -> Duration {
    let now = runtime.now();
    let interval = runtime.options.poll_interval;
    let jitter = interval.mul_f64(f64::from(jitter_seed(tenure) as u8) / 255.0 / 5.0);
    let due = runtime.due.next_after(now).map(|at| at.since(now));
    due.unwrap_or(Duration::MAX).min(interval - jitter).max(PAUSE_MIN)
}

/// Waits for the pause to pass, for a hint, or for room when there is none.
async fn rest(runtime: &Runtime, pause: Duration) {
    if runtime.permits.available_permits() == 0 {
        // Somebody has to finish first; commands are still looked for at the usual pace.
        tokio::select! {
            _ = runtime.permits.acquire() => {}
            () = sleep(runtime.options.poll_interval) => {}
        }
        return;
    }
    tokio::select! {
        () = sleep(pause) => {}
        () = async { runtime.store.hinted().await; sleep(PAUSE_MIN).await } => {}
    }
}

fn jitter_seed(tenure: &Tenure) -> u64 {
    let bytes = tenure.worker.to_bytes();
    u64::from_be_bytes([
        bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
    ])
}
