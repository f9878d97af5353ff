//! Taking a saga over from the store: replay, what was lost, what cannot be replayed.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Append, AppendError, CommandAnswer, Owner, SagaRow, StoreError, Summary};
use saga_core::{
    Definition, Digest, Event, LogHead, LogRow, Refusal, ReplayError, Saga, Status, Stimulus,
    StuckReason, WaitReason,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::Executor;
use crate::lease::Tenure;
use crate::retry_schedule::RetrySchedule;
use crate::runtime::{Driven, Runtime};

/// Tries to take a saga over before it is left alone, within some seconds.
const TRIES_MAX: u32 = 8;
/// How long a saga that cannot be taken over for a reason that stays is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long a saga is left alone that only the store, or a newer release, keeps us from: short, so
/// that it goes on soon once the store is back, or whenever a worker of that release has its turn.
const LEFT_SHORTLY: Duration = Duration::from_secs(5);

/// Drives a saga that has just been claimed, as far as this worker can.
pub(crate) async fn take_over(
    driven: Driven,
    tenure: Arc<Tenure>,
    row: SagaRow,
    permit: OwnedSemaphorePermit,
) {
    let takeover = Takeover { runtime: driven.runtime.clone(), tenure, row };
    let lost = takeover.tenure.lost.clone();
    let prepared = tokio::select! {
        biased;
        () = lost.cancelled() => return,
        prepared = takeover.prepare_patiently() => prepared,
    };
    match prepared {
        Ok(Prepared::ToDrive(replayed)) => {
            let (Replayed { definition, saga, log }, epoch) = (*replayed, takeover.row.epoch);
            Executor::new(driven, takeover.tenure, definition, saga, epoch).take_over(log).await;
        }
        Ok(Prepared::Settled) => {}
        Ok(Prepared::Unknown) => takeover.leave_alone(LEFT_ALONE, permit).await,
        Ok(Prepared::Newer(error)) => {
            let saga_id = takeover.row.id;
            tracing::warn!(%saga_id, %error, "leaving the saga to workers of a newer release");
            takeover.leave_alone(LEFT_SHORTLY, permit).await;
        }
        Err(error) => {
            let pause = match &error {
                StoreError::Unavailable(_) => LEFT_SHORTLY,
                StoreError::Corrupt(_) | StoreError::Unusable(_) => LEFT_ALONE,
            };
            let (saga_id, seconds) = (takeover.row.id, pause.as_secs());
            tracing::error!(%saga_id, %error, seconds, "cannot take the saga over, leaving it alone");
            takeover.leave_alone(pause, permit).await;
        }
    }
}

/// Lets go of a saga that was claimed although a call of an earlier lease may still be under way
/// for it in this process: others may drive it, this one must not.
pub(crate) async fn decline(
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    row: SagaRow,
    permit: OwnedSemaphorePermit,
) {
    tracing::warn!(saga_id = %row.id, "a call of an earlier lease is under way, leaving the saga to others");
    Takeover { runtime, tenure, row }.leave_alone(LEFT_SHORTLY, permit).await;
}

/// What a claimed saga turned out to need.
enum Prepared {
    ToDrive(Box<Replayed>),
    /// There is nothing to drive, and that is settled.
    Settled,
    /// This worker does not know its definition.
    Unknown,
    /// Its log is sound, but only a newer release can read it.
    Newer(ReplayError),
}

struct Replayed {
    definition: Definition,
    saga: Saga,
    log: Vec<LogRow>,
}

struct Takeover {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    row: SagaRow,
}

impl Takeover {
    /// Sits a short failure of the store out, which is no reason to let the saga wait.
    async fn prepare_patiently(&self) -> Result<Prepared, StoreError> {
        let mut schedule = RetrySchedule::for_store(self.row.id.seed());
        for _ in 1..TRIES_MAX {
            match self.prepare().await {
                Err(StoreError::Unavailable(error)) => {
                    tracing::warn!(saga_id = %self.row.id, error, "cannot take the saga over, trying again");
                    sleep(schedule.next_delay()).await;
                }
                prepared => return prepared,
            }
        }
        self.prepare().await
    }

    /// Rebuilds the saga, or settles that it cannot be rebuilt.
    async fn prepare(&self) -> Result<Prepared, StoreError> {
        if self.row.claims > self.runtime.options.losses_max {
            // Nobody who tried got as far as a single append: do not even replay it.
            self.refuse_commands("worker after worker died while replaying it").await?;
            self.mark_stuck(StuckReason::Poison { losses: self.row.claims - 1 }).await?;
            return Ok(Prepared::Settled);
        }
        let (row, log) = match self.runtime.store.load(self.row.id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Err(self.corrupt("has vanished")),
            Err(StoreError::Corrupt(why)) => {
                self.give_up(why).await?;
                return Ok(Prepared::Settled);
            }
            Err(error) => return Err(error),
        };
        if row.owner != Some(self.tenure.worker) || row.epoch != self.row.epoch {
            // It was let go of, or taken, after we were told that it is ours.
            return Ok(Prepared::Settled);
        }
        let Some(definition) = self.runtime.registry.exact(&row.definition) else {
            return Ok(Prepared::Unknown);
        };
        match Saga::replay(row.id, definition.spec().clone(), &log) {
            Ok(saga) => Ok(Prepared::ToDrive(Box::new(Replayed { definition, saga, log }))),
            Err(error) if error.is_newer() => Ok(Prepared::Newer(error)),
            Err(error) => {
                self.give_up(error.to_string()).await?;
                Ok(Prepared::Settled)
            }
        }
    }

    /// Nobody can say what a damaged log asks for: refuses every command and gets it stuck.
    async fn give_up(&self, why: String) -> Result<(), StoreError> {
        self.refuse_commands(&why).await?;
        let (store, id) = (&self.runtime.store, self.row.id);
        let reason = StuckReason::LogDamaged { why };
        let known = match &self.row.summary.wait {
            Some(WaitReason::Stuck { code, .. }) => code == reason.code(),
            _ => false,
        };
        if known {
            return store.release(id, self.tenure.worker, self.row.epoch, None).await;
        }
        self.mark_stuck(reason).await
    }

    /// Answers what waits in the inbox: an unanswered command would make the saga due at once.
    async fn refuse_commands(&self, why: &str) -> Result<(), StoreError> {
        let (store, id) = (&self.runtime.store, self.row.id);
        for command in store.commands(id).await? {
            let refused = CommandAnswer::Refused(Refusal::LogDamaged { why: why.to_owned() });
            let by = Owner { worker: self.tenure.worker, epoch: self.row.epoch };
            store.answer(id, &command.request_id, &refused, Some(by)).await?;
        }
        Ok(())
    }

    /// Appends that the saga is stuck, without replaying what cannot be replayed.
    async fn mark_stuck(&self, reason: StuckReason) -> Result<(), StoreError> {
        let head = self.last_head().await?;
        let (saga_id, saga, code) = (self.row.id, &self.row.definition.name, reason.code());
        tracing::error!(%saga_id, saga, reason = code, "saga stuck: it cannot be replayed");
        let why = match &reason {
            StuckReason::LogDamaged { why } => why.clone(),
            other => format!("{other:?}"),
        };
        let wait = WaitReason::Stuck { code: reason.code().to_owned(), step: None, why };
        let now = self.runtime.now();
        let row = head.seal(self.row.epoch, now, &[Event::SagaStuck { reason: reason.clone() }]);
        let summary =
            Summary { status: Status::Stuck, next_wake_at: None, wait: Some(wait), ended_at: None };
        let owner = self.tenure.worker;
        let append = Append { id: self.row.id, owner, row, summary, release: true };
        match self.runtime.store.append(append).await {
            Ok(()) => {
                self.runtime.telemetry.stuck(saga, &reason);
                Ok(())
            }
            // Somebody else has it by now, and the same thoughts about it.
            Err(AppendError::Fenced { .. }) => Ok(()),
            Err(AppendError::Store(error)) => Err(error),
        }
    }

    /// The end of the log as it stands. Where the last row is gone or cannot even be read there is
    /// nothing to chain to: the chain begins anew, so that the saga is seen to be stuck rather
    /// than tried for ever. It is broken there already.
    async fn last_head(&self) -> Result<LogHead, StoreError> {
        let seq = self.row.seq;
        let broken = LogHead { seq, epoch: self.row.epoch, digest: Digest::default() };
        match self.runtime.store.log(self.row.id, seq.saturating_sub(1), 1).await {
            Ok(rows) => Ok(rows.first().map_or(broken, LogRow::head)),
            Err(StoreError::Corrupt(_)) => Ok(broken),
            Err(error) => Err(error),
        }
    }

    /// Lets go of the saga for a while. An unanswered command would make it due at once, and
    /// claimed again at the pace of polls: then it is kept for that while, without taking room.
    async fn leave_alone(&self, pause: Duration, permit: OwnedSemaphorePermit) {
        let inbox = self.runtime.store.commands(self.row.id).await;
        let quiet = inbox.is_ok_and(|commands| commands.is_empty());
        let wake = self.runtime.now().after(pause);
        if !quiet {
            drop(permit);
            tokio::select! {
                biased;
                () = self.tenure.lost.cancelled() => return,
                () = self.runtime.draining.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
        let (id, worker, epoch) = (self.row.id, self.tenure.worker, self.row.epoch);
        if let Err(error) = self.runtime.store.release(id, worker, epoch, Some(wake)).await {
            tracing::warn!(saga_id = %id, %error, "cannot release the saga, it stays ours");
            // Our lease goes on, so nobody else will take it: it has to be found here.
            self.runtime.look_for_strays();
        }
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt(format!("saga {} {what}", self.row.id))
    }
}

impl Executor {
    /// Records what was in flight as lost, reads the inbox, and goes on from there.
    async fn take_over(mut self, log: Vec<LogRow>) {
        let (losses_max, lost) = (self.runtime.options.losses_max, self.has_lost_calls());
        self.remember(&log, lost);
        drop(log);
        let stimulus = match lost {
            true => Stimulus::WorkerLost { losses_max },
            false => Stimulus::Tick,
        };
        let opening = self.saga.advance(self.at, stimulus);
        let events = match opening {
            Ok(events) => self.read_inbox(events).await,
            Err(error) => Err(error.into()),
        };
        match events {
            Ok(events) => self.run(events).await,
            Err(halt) => self.finish(Err(halt)).await,
        }
    }
}
