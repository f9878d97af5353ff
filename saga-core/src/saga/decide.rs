//! Decisions: which events follow from a stimulus in the present state.

use std::time::Duration;

use super::{
    HandleError, IllegalTransition, Phase, PlannedCall, Saga, StepLedger, StepState, Stimulus,
};
use crate::context::Op;
use crate::definition::StepKind;
use crate::event::{Event, RecoveryCause, StuckReason};
use crate::failure::{Failure, Transient, TransientCause};
use crate::id::StepIndex;
use crate::log::LOG_TRANSITIONS_MAX;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Longest delay a participant can ask for with `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

impl Saga {
    /// Decides what follows from a stimulus, without changing anything.
    ///
    /// # Errors
    /// [`HandleError::Refused`] for a command that makes no sense,
    /// [`HandleError::Illegal`] for a stimulus that contradicts the state.
    pub fn handle(&self, now: Timestamp, stimulus: Stimulus) -> Result<Vec<Event>, HandleError> {
        self.clone().advance(now, stimulus)
    }

    /// Decides what follows from a stimulus and applies it: [`Saga::handle`] and [`Saga::apply`] in one.
    ///
    /// # Errors
    /// As [`Saga::handle`]; nothing is changed then.
    pub fn advance(
        &mut self,
        now: Timestamp,
        stimulus: Stimulus,
    ) -> Result<Vec<Event>, HandleError> {
        let mut events = Vec::new();
        match stimulus {
            // These two draw no conclusion: the other calls planned with this one come next,
            // and each of them must still be possible.
            Stimulus::Dispatch(call) => {
                self.record(&mut events, now, self.intent(call))?;
                return Ok(events);
            }
            Stimulus::Hold { call: PlannedCall { step, op }, until } => {
                let until = until.max(self.patience(step, now));
                self.record(&mut events, now, Event::CallHeld { step, op, until })?;
                return Ok(events);
            }
            Stimulus::Answer { call, result } => {
                let event = self.answered(now, call, result);
                self.record(&mut events, now, event)?;
            }
            Stimulus::Withdraw { call: PlannedCall { step, op }, why } => {
                self.record(&mut events, now, Event::CallWithdrawn { step, op, why })?;
            }
            Stimulus::WorkerLost { losses_max } => {
                self.lose_worker(&mut events, now, losses_max)?
            }
            Stimulus::Tick => {}
            Stimulus::Command(command) => self.command(&mut events, now, command)?,
        }
        self.conclude(&mut events, now)?;
        Ok(events)
    }

    pub(super) fn record(
        &mut self,
        events: &mut Vec<Event>,
        now: Timestamp,
        event: Event,
    ) -> Result<(), IllegalTransition> {
        self.apply(now, &event)?;
        events.push(event);
        Ok(())
    }

    fn intent(&self, PlannedCall { step, op }: PlannedCall) -> Event {
        let ledger = self.steps.get(step.usize());
        match op {
            Op::Action => {
                Event::StepReceived { step, attempt: ledger.map_or(0, |l| l.attempts) + 1 }
            }
            Op::Compensation => {
                let attempt = ledger.map_or(0, |l| l.compensation_attempts) + 1;
                Event::CompensationReceived { step, attempt }
            }
        }
    }

    fn answered(
        &self,
        now: Timestamp,
        call: PlannedCall,
        result: Result<Payload, Failure>,
    ) -> Event {
        let step = call.step;
        match (call.op, result) {
            (Op::Action, Ok(output)) => Event::StepProcessed { step, output },
            (Op::Action, Err(Failure::Rejected(rejection))) => {
                Event::StepRejected { step, rejection }
            }
            (Op::Action, Err(Failure::Transient(failure))) => {
                let forward = self.phase == Phase::Forward;
                let retry_at = self.retry_at(now, call, &failure).filter(|_| forward);
                Event::StepFailed { step, failure, retry_at }
            }
            (Op::Compensation, Ok(_)) => Event::StepCompensated { step },
            (Op::Compensation, Err(failure)) => {
                // A refused compensation will be refused again: a person has to look.
                let retry_at = match &failure {
                    Failure::Transient(transient) => self.retry_at(now, call, transient),
                    Failure::Rejected(_) => None,
                };
                Event::CompensationFailed { step, failure, retry_at }
            }
        }
    }

    /// The least wait of a call held back once more: a tenth of the time it has been held already.
    /// So an outage of any length costs few rows of the log (100 in a day), and lasts at most a
    /// tenth longer for those who waited.
    fn patience(&self, step: StepIndex, now: Timestamp) -> Timestamp {
        let held_since = self.steps.get(step.usize()).and_then(|ledger| ledger.held_since);
        now.after(held_since.map_or(Duration::ZERO, |since| now.since(since) / 10))
    }

    /// When a failed call is tried again; `None` when its budget is spent.
    fn retry_at(
        &self,
        now: Timestamp,
        call: PlannedCall,
        failure: &Transient,
    ) -> Option<Timestamp> {
        let ledger = self.steps.get(call.step.usize())?;
        let spec = self.spec.step(call.step);
        let policy = match call.op {
            Op::Action => &spec.retry,
            Op::Compensation => &spec.compensation_retry,
        };
        if !policy.allows_another(ledger.budget_used) {
            return None;
        }
        let salt = u64::from(call.step.0) << 1 | u64::from(call.op == Op::Compensation);
        let backoff = policy.delay(ledger.budget_used, self.id.seed() ^ salt);
        let asked = failure.retry_after_ms.map_or(Duration::ZERO, Duration::from_millis);
        let delay = match failure.cause {
            // The participant is not to blame: go on at once, unless workers keep dying on it.
            TransientCause::Cancelled => Duration::ZERO,
            TransientCause::WorkerLost if self.losses <= 1 => Duration::ZERO,
            _ => backoff.max(asked.min(RETRY_AFTER_MAX)),
        };
        Some(now.after(delay))
    }

    fn lose_worker(
        &mut self,
        events: &mut Vec<Event>,
        now: Timestamp,
        losses_max: u32,
    ) -> Result<(), IllegalTransition> {
        self.record(events, now, Event::WorkerLost)?;
        let lost =
            Failure::unknown(TransientCause::WorkerLost, "the worker that made the call is gone");
        for step in self.spec.clone().indexes() {
            let op = match self.steps[step.usize()].state {
                StepState::Received => Op::Action,
                StepState::Compensating => Op::Compensation,
                _ => continue,
            };
            let event = self.answered(now, PlannedCall { step, op }, Err(lost.clone()));
            self.record(events, now, event)?;
        }
        // Spent attempts turn the saga to other calls, which deserve a chance of their own.
        self.conclude(events, now)?;
        if self.losses >= losses_max && self.stuck.is_none() && self.ended.is_none() {
            let reason = StuckReason::Poison { losses: self.losses };
            self.record(events, now, Event::SagaStuck { reason })?;
        }
        Ok(())
    }

    /// Draws every conclusion that needs no further input: turning, ending, getting stuck.
    fn conclude(
        &mut self,
        events: &mut Vec<Event>,
        now: Timestamp,
    ) -> Result<(), IllegalTransition> {
        while let Some(event) = self.conclusion(now) {
            self.record(events, now, event)?;
        }
        Ok(())
    }

    fn conclusion(&self, now: Timestamp) -> Option<Event> {
        if self.ended.is_some() {
            return None;
        }
        let concluded = match self.phase {
            Phase::Forward => self.conclude_forward(now),
            Phase::Backward => self.conclude_backward(),
        };
        concluded.or_else(|| self.log_full())
    }

    fn conclude_forward(&self, now: Timestamp) -> Option<Event> {
        let Some(stage) = self.forward_stage() else {
            return Some(Event::SagaEnded { verdict: self.computed_verdict() });
        };
        if let Some(cause) = self.reason_to_turn(stage, now) {
            return Some(Event::RecoveryBegan { cause });
        }
        let halted = self.stuck.is_none() && self.halted();
        let spent = self.spec.stage(stage).find(|step| self.steps[step.usize()].spent)?;
        halted.then(|| Event::SagaStuck { reason: self.why_forward_is_stuck(spent) })
    }

    fn reason_to_turn(&self, stage: u16, now: Timestamp) -> Option<RecoveryCause> {
        if self.overdue(now) {
            return Some(RecoveryCause::DeadlinePassed);
        }
        if self.stuck.is_some() {
            return None;
        }
        let spent = |step: &StepIndex| self.steps[step.usize()].spent;
        let step = self.spec.stage(stage).find(spent)?;
        let ledger = &self.steps[step.usize()];
        let cause = match ledger.rejected() {
            true => RecoveryCause::StepRejected { step },
            false => RecoveryCause::AttemptsSpent { step },
        };
        let turns = match self.spec.step(step).kind {
            StepKind::Compensatable => true,
            // Without doubt about an earlier attempt a refused pivot left no effect.
            StepKind::Pivot => !ledger.doubt,
            StepKind::Retriable => false,
        };
        turns.then_some(cause)
    }

    fn why_forward_is_stuck(&self, step: StepIndex) -> StuckReason {
        let rejected = self.steps[step.usize()].rejected();
        match (self.spec.step(step).kind, rejected) {
            (StepKind::Retriable, true) => StuckReason::RetriableRejected { step },
            (StepKind::Retriable, false) => StuckReason::RetriableSpent { step },
            (_, true) => StuckReason::PivotInDoubt { step },
            (_, false) => StuckReason::PivotUnknown { step },
        }
    }

    fn conclude_backward(&self) -> Option<Event> {
        if self.steps.iter().any(StepLedger::in_flight) {
            return None;
        }
        let Some(stage) = self.backward_stage() else {
            return Some(Event::SagaEnded { verdict: self.computed_verdict() });
        };
        let halted = self.stuck.is_none() && self.halted();
        let spent = |step: &StepIndex| self.to_compensate(*step) && self.steps[step.usize()].spent;
        let step = self.spec.stage(stage).find(spent)?;
        halted.then_some(Event::SagaStuck { reason: StuckReason::CompensationSpent { step } })
    }

    /// Whether nothing is under way and nothing is waiting for its time.
    fn halted(&self) -> bool {
        !self.steps.iter().any(StepLedger::in_flight) && self.open_calls().next().is_none()
    }

    fn log_full(&self) -> Option<Event> {
        let reason = StuckReason::LogFull { transitions: self.head.seq };
        (self.log_is_full() && self.stuck.is_none()).then_some(Event::SagaStuck { reason })
    }

    /// Whether the log has room for its last row only: the one that says so.
    pub(super) fn log_is_full(&self) -> bool {
        self.head.seq + 1 >= LOG_TRANSITIONS_MAX
    }
}
