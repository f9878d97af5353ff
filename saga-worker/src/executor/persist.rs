//! Making events durable, however long the store takes to come back.

use saga_core::store::{Append, AppendError, Summary};
use saga_core::{Event, Next, Saga, Timestamp};
use tokio::time::sleep;

use super::{Executor, Halt, Rest};
use crate::retry_schedule::RetrySchedule;

impl Executor {
    /// Appends the events as one transition, or just lets go when there are none.
    ///
    /// Tried again until the store takes it or another worker owns the saga. Answers to commands
    /// go out afterwards.
    pub(super) async fn persist(&mut self, events: &[Event], rest: &Rest) -> Result<(), Halt> {
        match (events, rest) {
            ([], Rest::Here(_)) => {}
            ([], Rest::LetGo(wake)) => self.release(*wake).await,
            (events, rest) => self.append(events, matches!(rest, Rest::LetGo(_))).await?,
        }
        self.reply().await;
        if let Rest::LetGo(Some(at)) = rest {
            self.runtime.due.remind(*at);
        }
        Ok(())
    }

    async fn append(&mut self, events: &[Event], release: bool) -> Result<(), Halt> {
        let now = self.at;
        let row = self.saga.seal(self.epoch, now, events);
        let summary = summary(&self.saga, now, release);
        let append =
            Append { id: self.saga.id(), owner: self.tenure.worker, row, summary, release };
        let mut schedule = RetrySchedule::for_store(self.saga.id().seed());
        loop {
            match self.runtime.store.append(append.clone()).await {
                Ok(()) => break,
                Err(AppendError::Fenced { .. }) => return Err(Halt::Fenced),
                Err(AppendError::Store(error)) => {
                    tracing::warn!(saga_id = %self.saga.id(), %error, "cannot append, trying again");
                    sleep(schedule.next_delay()).await;
                }
            }
        }
        self.announce(events);
        Ok(())
    }

    async fn release(&self, wake: Option<Timestamp>) {
        let mut schedule = RetrySchedule::for_store(self.saga.id().seed());
        let (store, id) = (&self.runtime.store, self.saga.id());
        while let Err(error) = store.release(id, self.tenure.worker, self.epoch, wake).await {
            tracing::warn!(saga_id = %id, %error, "cannot release, trying again");
            sleep(schedule.next_delay()).await;
        }
    }

    fn announce(&self, events: &[Event]) {
        self.publish();
        for event in events {
            match event {
                Event::SagaEnded { .. } => {
                    let after = self.runtime.now().since(self.saga.started_at());
                    let (status, saga) = (self.saga.status(), &self.saga.spec().name);
                    tracing::debug!(saga_id = %self.saga.id(), saga, %status, ?after, "saga ended");
                    self.runtime.telemetry.ended(&self.saga, after);
                }
                Event::SagaStuck { reason } => {
                    let why = reason.describe(self.saga.spec());
                    tracing::error!(saga_id = %self.saga.id(), saga = %self.saga.spec().name, why, "saga stuck");
                    self.runtime.telemetry.stuck(&self.saga);
                }
                _ => {}
            }
        }
    }

    fn publish(&self) {
        let verdict = self.saga.ended().map(|(_, verdict)| verdict);
        self.runtime.watchers.publish(self.saga.id(), verdict);
    }

    async fn reply(&mut self) {
        for (request_id, answer) in std::mem::take(&mut self.replies) {
            let id = self.saga.id();
            if let Err(error) = self.runtime.store.answer(id, &request_id, &answer).await {
                // It stays unanswered in the inbox; the next look gives the same answer.
                tracing::warn!(saga_id = %id, %request_id, %error, "cannot answer a command yet");
            }
            self.publish();
        }
    }
}

/// The state row that follows from a saga; `release`: nobody will be busy with it.
pub(super) fn summary(saga: &Saga, now: Timestamp, release: bool) -> Summary {
    let next_wake_at = match saga.next(now) {
        Next::WaitUntil(at) => Some(at),
        Next::Call(_) | Next::InFlight if release => Some(now),
        Next::Paused => saga.deadline_ahead(),
        Next::Call(_) | Next::InFlight | Next::Stuck(_) | Next::Done(_) => None,
    };
    Summary {
        status: saga.status(),
        next_wake_at,
        wait: if release { saga.wait(now) } else { None },
        ended_at: saga.ended().map(|(at, _)| *at),
    }
}
