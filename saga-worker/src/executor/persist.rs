//! Making events durable, however long the store takes to come back.

use saga_core::store::{Append, AppendError, CommandAnswer, Owner, Summary};
use saga_core::{Event, Next, Op, PlannedCall, Saga, SagaView, StepState, Stimulus, Timestamp};
use tokio::time::{sleep, timeout_at};

use super::{Executor, Halt, Rest};
use crate::retry_schedule::RetrySchedule;

impl Executor {
    /// Appends the events as one transition, or just lets go when there are none.
    ///
    /// Tried again until the store takes it or another worker owns the saga. Answers to commands
    /// go out afterwards.
    pub(super) async fn persist(&mut self, events: &[Event], rest: &Rest) -> Result<(), Halt> {
        // A refusal is given while the saga is still ours: whoever takes it over may decide otherwise.
        let is_kept = self.saga.ended().is_none() && self.refuses();
        match (events, rest) {
            ([], Rest::Here(_)) => {}
            ([], Rest::LetGo(_)) if is_kept => {}
            ([], Rest::LetGo(wake)) => self.release(*wake).await,
            (events, rest) => {
                self.append(events, !is_kept && matches!(rest, Rest::LetGo(_))).await?;
            }
        }
        self.reply().await?;
        if let (Rest::LetGo(wake), true) = (rest, is_kept) {
            self.release(*wake).await;
        }
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
        self.unconfirmed = Some(append);
        let mut schedule = RetrySchedule::for_store(self.saga.id().seed());
        while let Some(append) = self.unconfirmed.clone() {
            match self.runtime.store.append(append).await {
                Ok(()) => self.unconfirmed = None,
                Err(AppendError::Fenced { .. }) => return Err(Halt::Fenced),
                Err(AppendError::Store(error)) => {
                    tracing::warn!(saga_id = %self.saga.id(), %error, "cannot append, trying again");
                    sleep(schedule.next_delay()).await;
                }
            }
        }
        self.publish();
        self.tell(now, events);
        Ok(())
    }

    /// Records that calls which were announced have not been made, now that the lease is given up:
    /// only this worker can know, and whoever takes the saga over would have to doubt.
    ///
    /// Tried once, and only while the lease is certainly still ours by the monotonic clock. A
    /// worker that slept past its lease writes nothing.
    pub(super) async fn take_back(&mut self) {
        let Some(until) = self.tenure.certain_until() else { return };
        let unmade: Vec<_> =
            self.announced().filter(|call| !self.flying.contains_key(call)).collect();
        if unmade.is_empty() {
            return;
        }
        let (saga_id, at) = (self.saga.id(), self.runtime.now());
        let mut events = Vec::new();
        for call in unmade {
            let why = "the worker's lease ran out before it was made".to_owned();
            match self.saga.advance(at, Stimulus::Withdraw { call, why }) {
                Ok(more) => events.extend(more),
                Err(error) => return tracing::error!(%saga_id, %error, "cannot take a call back"),
            }
        }
        let row = self.saga.seal(self.epoch, at, &events);
        let (owner, summary) = (self.tenure.worker, summary(&self.saga, at, true));
        let last = Append { id: saga_id, owner, row, summary, release: true };
        let store = self.runtime.store.clone();
        let before = self.unconfirmed.take();
        let appends = async {
            if let Some(before) = before.clone() {
                store.append(before).await?;
            }
            store.append(last).await
        };
        match timeout_at(until, appends).await {
            Ok(Ok(())) => {
                self.publish();
                if let Some(Ok(before)) = before.map(|append| append.row.decode()) {
                    self.tell(before.at, &before.events);
                }
                self.tell(at, &events);
            }
            Ok(Err(error)) => {
                tracing::debug!(%saga_id, %error, "a call that was not made stays in doubt")
            }
            Err(_) => tracing::debug!(%saga_id, "a call that was not made stays in doubt"),
        }
    }

    /// The calls that are under way by the saga's own account.
    fn announced(&self) -> impl Iterator<Item = PlannedCall> + '_ {
        let steps = self.saga.spec().indexes().zip(self.saga.steps());
        steps.filter_map(|(step, ledger)| match ledger.state {
            StepState::Received => Some(PlannedCall { step, op: Op::Action }),
            StepState::Compensating => Some(PlannedCall { step, op: Op::Compensation }),
            _ => None,
        })
    }

    async fn release(&self, wake: Option<Timestamp>) {
        let mut schedule = RetrySchedule::for_store(self.saga.id().seed());
        let (store, id) = (&self.runtime.store, self.saga.id());
        while let Err(error) = store.release(id, self.tenure.worker, self.epoch, wake).await {
            tracing::warn!(saga_id = %id, %error, "cannot release, trying again");
            sleep(schedule.next_delay()).await;
        }
    }

    fn publish(&self) {
        let show = || SagaView::of(&self.saga, self.at);
        let ended = self.saga.ended().map(|_| &show as &dyn Fn() -> SagaView);
        self.runtime.watchers.publish(self.saga.id(), ended);
    }

    fn refuses(&self) -> bool {
        self.replies.iter().any(|(_, answer)| matches!(answer, CommandAnswer::Refused(_)))
    }

    /// Gives the answers that have become certain. A worker without a lease does not know the saga
    /// as it is, and leaves them to whoever drives it.
    ///
    /// A refusal is tried until the store has it: it may be on its way still, so the command must
    /// not be judged again before. What was accepted is in the log, and the next look says the same.
    async fn reply(&mut self) -> Result<(), Halt> {
        let id = self.saga.id();
        let mut schedule = RetrySchedule::for_store(id.seed());
        for (request_id, answer) in std::mem::take(&mut self.replies) {
            loop {
                if !self.tenure.holds() {
                    return Err(Halt::LeaseLost);
                }
                let is_final = self.saga.ended().is_some() || answer == CommandAnswer::Accepted;
                let by = Owner { worker: self.tenure.worker, epoch: self.epoch };
                let by = (!is_final).then_some(by);
                let answered = self.runtime.store.answer(id, &request_id, &answer, by).await;
                let Err(error) = answered else { break };
                tracing::warn!(saga_id = %id, %request_id, %error, "cannot answer a command yet");
                if is_final {
                    break;
                }
                sleep(schedule.next_delay()).await;
            }
            self.publish();
        }
        Ok(())
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
