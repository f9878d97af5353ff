//! The poll loop: what is due, what was commanded, what has gone astray.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Claim, SagaRow, StoreError};
use saga_core::{Command, SagaId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use crate::executor::{decline, take_over};
use crate::last_answer::answer_after_the_end;
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
    let mut swept = Instant::now();
    while !tenure.lost.is_cancelled() && !runtime.draining.is_cancelled() {
        if swept.elapsed() >= runtime.options.lease_ttl {
            swept = Instant::now();
            runtime.look_for_strays();
        }
        let polled = poll(runtime, tenure).await;
        let rest = async {
            match polled {
                Ok(Polled::Full) => {}
                Ok(Polled::NoRoom) => wait_for_room(runtime).await,
                Ok(Polled::Drained) => {
                    schedule.reset();
                    idle(runtime, tenure).await;
                }
                Err(error) => {
                    tracing::warn!(worker = %tenure.worker, %error, "cannot claim, trying again");
                    runtime.look_for_strays();
                    sleep(schedule.next_delay().max(PAUSE_MIN)).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = tenure.lost.cancelled() => {}
            () = runtime.draining.cancelled() => {}
            () = rest => {}
        }
    }
}

/// Whether a poll found as much as it could take.
enum Polled {
    Full,
    NoRoom,
    Drained,
}

/// Looks once. It is never dropped half-way by the loop: a claim that was made has to be driven.
async fn poll(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>) -> Result<Polled, StoreError> {
    runtime.due.forget_until(runtime.now());
    if runtime.strays_wanted() {
        unless_unreadable(drive_strays(runtime, tenure).await)?;
    }
    unless_unreadable(see_to_commands(runtime, tenure).await)?;
    let mut permits = permits(runtime);
    let wanted = permits.len();
    if wanted == 0 {
        return Ok(Polled::NoRoom);
    }
    let claim = Claim {
        worker: tenure.worker,
        definitions: runtime.registry.references(),
        limit: u32::try_from(wanted).unwrap_or(u32::MAX),
    };
    let rows = runtime.store.claim(&claim).await?;
    let (found, now) = (rows.len(), runtime.now());
    for (row, permit) in rows.into_iter().zip(permits.drain(..)) {
        if let Some(due_at) = row.summary.next_wake_at {
            runtime.telemetry.claimed(&row.definition.name, now.since(due_at));
        }
        drive(runtime, tenure, row, permit);
    }
    Ok(if found == wanted { Polled::Full } else { Polled::Drained })
}

/// One row that nobody can read must not keep a worker from claiming all the others.
fn unless_unreadable(looked: Result<(), StoreError>) -> Result<(), StoreError> {
    match looked {
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(%error, "passing over what cannot be read");
            Ok(())
        }
        looked => looked,
    }
}

fn permits(runtime: &Runtime) -> Vec<OwnedSemaphorePermit> {
    let permit = || runtime.permits.clone().try_acquire_owned().ok();
    std::iter::from_fn(permit).take(BATCH_MAX).collect()
}

fn drive(runtime: &Arc<Runtime>, tenure: &Arc<Tenure>, row: SagaRow, permit: OwnedSemaphorePermit) {
    if runtime.is_barred(row.id) {
        runtime.executors.spawn(decline(runtime.clone(), tenure.clone(), row, permit));
        return;
    }
    let (driven, tenure) = (runtime.drive(row.id), tenure.clone());
    runtime.executors.spawn(take_over(driven, tenure, row, permit));
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
    let astray = |row: &SagaRow| !runtime.is_driven(row.id) || runtime.is_barred(row.id);
    for row in owned.into_iter().filter(astray) {
        match runtime.permits.clone().try_acquire_owned() {
            Ok(permit) => drive(runtime, tenure, row, permit),
            // No room for it now: it is looked for again.
            Err(_) => runtime.look_for_strays(),
        }
    }
    Ok(())
}

/// Tells the executors of sagas with unanswered commands to look into their inbox, and answers
/// commands to sagas that have ended, which have no executor.
async fn see_to_commands(runtime: &Runtime, tenure: &Tenure) -> Result<(), StoreError> {
    let pending = runtime.store.pending(tenure.worker, COMMANDS_MAX).await?;
    for (id, command) in pending {
        if runtime.is_driven(id) {
            runtime.ring(id);
        } else if let Err(error) = answer_if_ended(runtime, id, &command).await {
            let request_id = &command.request_id;
            tracing::warn!(saga_id = %id, %request_id, %error, "cannot answer a command yet");
        }
    }
    Ok(())
}

async fn answer_if_ended(
    runtime: &Runtime,
    id: SagaId,
    command: &Command,
) -> Result<(), StoreError> {
    match runtime.store.row(id).await? {
        Some(row) if !row.summary.status.is_alive() => {
            answer_after_the_end(runtime.store.as_ref(), &row, command).await.map(drop)
        }
        _ => Ok(()),
    }
}

/// Waits for the poll interval (less up to a fifth of jitter) to pass, for a saga we let go of to
/// be due, or for a hint.
async fn idle(runtime: &Runtime, tenure: &Tenure) {
    let interval = runtime.options.poll_interval;
    let jitter = interval.mul_f64(f64::from(jitter_seed(tenure) as u8) / 255.0 / 5.0);
    let (begun, latest) = (Instant::now(), Instant::now() + (interval - jitter));
    loop {
        let now = runtime.now();
        let due = runtime.due.first().map(|at| Instant::now() + at.since(now));
        let until = due.map_or(latest, |due| due.min(latest)).max(begun + PAUSE_MIN);
        tokio::select! {
            biased;
            () = sleep_until(until) => return,
            () = async { runtime.store.hinted().await; sleep(PAUSE_MIN).await } => return,
            () = runtime.due.sooner() => {}
        }
    }
}

/// Waits until somebody has finished; commands are still looked for at the usual pace.
async fn wait_for_room(runtime: &Runtime) {
    tokio::select! {
        biased;
        _ = runtime.permits.acquire() => {}
        () = sleep(runtime.options.poll_interval) => return,
    }
    // Others will finish too: one look for all of them.
    sleep(PAUSE_MIN).await;
}

fn jitter_seed(tenure: &Tenure) -> u64 {
    let bytes = tenure.worker.to_bytes();
    u64::from_be_bytes([
        bytes[8], bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15],
    ])
}
