//! Taking a saga over from the store: replay, what was lost, what cannot be replayed.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Append, SagaRow, StoreError, Summary};
use saga_core::{Event, LogRow, Saga, Status, Stimulus, StuckReason, WaitReason};

use super::Executor;
use crate::lease::Tenure;
use crate::runtime::Runtime;

/// How long a saga that cannot be taken over now is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Drives a saga that has just been claimed, as far as this worker can.
pub(crate) async fn take_over(runtime: Arc<Runtime>, tenure: Arc<Tenure>, row: SagaRow) {
    let takeover = Takeover { runtime, tenure, row };
    if let Err(error) = takeover.run().await {
        let saga_id = takeover.row.id;
        tracing::error!(%saga_id, %error, "cannot take the saga over, leaving it alone for a minute");
        takeover.leave_alone().await;
    }
}

struct Takeover {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    row: SagaRow,
}

impl Takeover {
    async fn run(&self) -> Result<(), StoreError> {
        if self.row.claims > self.runtime.options.losses_max {
            // Nobody who tried got as far as a single append: do not even replay it.
            return self.mark_stuck(StuckReason::Poison { losses: self.row.claims - 1 }).await;
        }
        let Some((row, log)) = self.runtime.store.load(self.row.id).await? else {
            return Err(StoreError::Corrupt(format!("saga {} has vanished", self.row.id)));
        };
        let Some(definition) = self.runtime.registry.exact(&row.definition) else {
            self.leave_alone().await;
            return Ok(());
        };
        match Saga::replay(row.id, definition.spec().clone(), &log) {
            Ok(saga) => {
                let (runtime, tenure) = (self.runtime.clone(), self.tenure.clone());
                let executor =
                    Executor::new(runtime, tenure, definition.clone(), saga, self.row.epoch);
                executor.take_over().await;
                Ok(())
            }
            Err(error) => self.mark_stuck(StuckReason::LogDamaged { why: error.to_string() }).await,
        }
    }

    /// Appends that the saga is stuck, without replaying what cannot be replayed.
    async fn mark_stuck(&self, reason: StuckReason) -> Result<(), StoreError> {
        let after = self.row.seq.saturating_sub(1);
        let last = self.runtime.store.log(self.row.id, after, 1).await?;
        let Some(head) = last.first().map(LogRow::head) else {
            return Err(StoreError::Corrupt(format!(
                "saga {} has no log row {}",
                self.row.id, self.row.seq
            )));
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
        self.runtime
            .store
            .append(append)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn leave_alone(&self) {
        let wake = self.runtime.now().after(LEFT_ALONE);
        let (id, worker, epoch) = (self.row.id, self.tenure.worker, self.row.epoch);
        if let Err(error) = self.runtime.store.release(id, worker, epoch, Some(wake)).await {
            tracing::warn!(saga_id = %id, %error, "cannot release the saga; its lease will run out");
        }
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
        let opening = self.saga.advance(self.runtime.now(), stimulus);
        let events = match opening {
            Ok(mut events) => match self.read_inbox().await {
                Ok(more) => {
                    events.extend(more);
                    Ok(events)
                }
                Err(halt) => Err(halt),
            },
            Err(error) => Err(error.into()),
        };
        match events {
            Ok(events) => self.run(events).await,
            Err(halt) => self.finish(Err(halt)).await,
        }
    }
}
