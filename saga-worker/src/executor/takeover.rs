//! Taking a saga over from the store: replay, what was lost, what cannot be replayed.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Append, AppendError, CommandAnswer, SagaRow, StoreError, Summary};
use saga_core::{
    Definition, Event, LogRow, Refusal, Saga, Status, Stimulus, StuckReason, WaitReason,
};

use tokio::time::sleep;

use super::Executor;
use crate::lease::Tenure;
use crate::retry_schedule::RetrySchedule;
use crate::runtime::{Driven, Runtime};

/// Tries to take a saga over before it is left alone, within some seconds.
const TRIES_MAX: u32 = 8;
/// How long a saga that cannot be taken over now is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Drives a saga that has just been claimed, as far as this worker can.
pub(crate) async fn take_over(driven: Driven, tenure: Arc<Tenure>, row: SagaRow) {
    let takeover = Takeover { runtime: driven.runtime.clone(), tenure, row };
    let lost = takeover.tenure.lost.clone();
    let prepared = tokio::select! {
        biased;
        () = lost.cancelled() => return,
        prepared = takeover.prepare_patiently() => prepared,
    };
    match prepared {
        Ok(Some((definition, saga))) => {
            let (tenure, epoch) = (takeover.tenure, takeover.row.epoch);
            Executor::new(driven, tenure, definition, saga, epoch).take_over().await;
        }
        Ok(None) => {}
        Err(error) => {
            let saga_id = takeover.row.id;
            tracing::error!(%saga_id, %error, "cannot take the saga over, leaving it alone for a minute");
            takeover.leave_alone().await;
        }
    }
}

struct Takeover {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    row: SagaRow,
}

impl Takeover {
    /// Sits a short failure of the store out, which is no reason to let the saga wait.
    async fn prepare_patiently(&self) -> Result<Option<(Definition, Saga)>, StoreError> {
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

    /// Rebuilds the saga; `None` when there is nothing to drive, and that is settled.
    async fn prepare(&self) -> Result<Option<(Definition, Saga)>, StoreError> {
        if self.row.claims > self.runtime.options.losses_max {
            // Nobody who tried got as far as a single append: do not even replay it.
            self.refuse_commands("worker after worker died while replaying it").await?;
            self.mark_stuck(StuckReason::Poison { losses: self.row.claims - 1 }).await?;
            return Ok(None);
        }
        let (row, log) = match self.runtime.store.load(self.row.id).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return Err(self.corrupt("has vanished")),
            Err(StoreError::Corrupt(why)) => {
                self.give_up(why).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if row.owner != Some(self.tenure.worker) || row.epoch != self.row.epoch {
            // It was let go of, or taken, after we were told that it is ours.
            return Ok(None);
        }
        let Some(definition) = self.runtime.registry.exact(&row.definition) else {
            self.leave_alone().await;
            return Ok(None);
        };
        match Saga::replay(row.id, definition.spec().clone(), &log) {
            Ok(saga) => Ok(Some((definition.clone(), saga))),
            Err(error) => {
                self.give_up(error.to_string()).await?;
                Ok(None)
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
            store.answer(id, &command.request_id, &refused).await?;
        }
        Ok(())
    }

    /// Appends that the saga is stuck, without replaying what cannot be replayed.
    async fn mark_stuck(&self, reason: StuckReason) -> Result<(), StoreError> {
        let after = self.row.seq.saturating_sub(1);
        let last = self.runtime.store.log(self.row.id, after, 1).await?;
        let Some(head) = last.first().map(LogRow::head) else {
            return Err(self.corrupt(&format!("has no log row {}", self.row.seq)));
        };
        let why = match &reason {
            StuckReason::LogDamaged { why } => why.clone(),
            other => format!("{other:?}"),
        };
        let wait = WaitReason::Stuck { code: reason.code().to_owned(), step: None, why };
        let now = self.runtime.now();
        let row = head.seal(self.row.epoch, now, &[Event::SagaStuck { reason }]);
        let summary =
            Summary { status: Status::Stuck, next_wake_at: None, wait: Some(wait), ended_at: None };
        let owner = self.tenure.worker;
        let append = Append { id: self.row.id, owner, row, summary, release: true };
        match self.runtime.store.append(append).await {
            // Somebody else has it by now, and the same thoughts about it.
            Ok(()) | Err(AppendError::Fenced { .. }) => Ok(()),
            Err(AppendError::Store(error)) => Err(error),
        }
    }

    async fn leave_alone(&self) {
        let wake = self.runtime.now().after(LEFT_ALONE);
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
    async fn take_over(mut self) {
        let losses_max = self.runtime.options.losses_max;
        let stimulus = match self.has_lost_calls() {
            true => Stimulus::WorkerLost { losses_max },
            false => Stimulus::Tick,
        };
        let opening = self.saga.advance(self.at, stimulus);
        let events = match opening {
            Ok(mut events) => self.read_inbox().await.map(|more| {
                events.extend(more);
                events
            }),
            Err(error) => Err(error.into()),
        };
        match events {
            Ok(events) => self.run(events).await,
            Err(halt) => self.finish(Err(halt)).await,
        }
    }
}
