//! The only place where a saga changes. Every legal transition is one arm.

use super::{IllegalTransition, Phase, PlannedCall, Saga, StepState};
use crate::command::{Assume, Command, CommandAction};
use crate::context::Op;
use crate::event::Event;
use crate::failure::Failure;
use crate::id::StepIndex;
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};

impl Saga {
    /// Changes the saga by one event that happened at `at`.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the event cannot follow the log so far; nothing is changed then.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> Result<(), IllegalTransition> {
        self.permit(event).map_err(|why| IllegalTransition { event: self.short(event), why })?;
        match event {
            Event::SagaStarted(_) => {}
            Event::StepReceived { step, .. } => self.receive(at, *step),
            Event::StepProcessed { step, output } => {
                self.losses = 0;
                let ledger = self.enter(at, *step, StepState::Processed);
                (ledger.output, ledger.doubt) = (Some(output.clone()), false);
            }
            Event::StepFailed { step, failure, retry_at } => {
                let forward = self.phase == Phase::Forward;
                let ledger = self.enter(at, *step, StepState::Failed);
                ledger.last_error = Some(Failure::Transient(failure.clone()));
                (ledger.doubt, ledger.wake_at) = (true, *retry_at);
                ledger.spent = retry_at.is_none() && forward;
            }
            Event::StepRejected { step, rejection } => {
                self.losses = 0;
                let forward = self.phase == Phase::Forward;
                let ledger = self.enter(at, *step, StepState::Failed);
                ledger.last_error = Some(Failure::Rejected(rejection.clone()));
                ledger.doubt &= !rejection.settled;
                ledger.spent = forward;
            }
            Event::CallHeld { step, until, .. } => {
                let ledger = &mut self.steps[step.usize()];
                ledger.wake_at = Some(*until);
                ledger.held_since.get_or_insert(at);
            }
            Event::CallWithdrawn { step, op, .. } => self.withdraw(at, *step, *op),
            Event::WorkerLost => self.losses += 1,
            Event::RecoveryBegan { .. } => self.turn(),
            Event::CompensationReceived { step, .. } => self.receive(at, *step),
            Event::StepCompensated { step } => {
                self.losses = 0;
                self.enter(at, *step, StepState::Compensated);
            }
            Event::CompensationFailed { step, failure, retry_at } => {
                let ledger = self.enter(at, *step, StepState::CompensationFailed);
                ledger.last_error = Some(failure.clone());
                (ledger.wake_at, ledger.spent) = (*retry_at, retry_at.is_none());
                ledger.doubt = match failure {
                    Failure::Transient(_) => true,
                    Failure::Rejected(rejection) => ledger.doubt && !rejection.settled,
                };
            }
            Event::SagaStuck { reason } => self.stuck = Some(reason.clone()),
            Event::CommandAccepted(command) => self.obey(at, command),
            Event::SagaEnded { verdict } => self.ended = Some((at, verdict.clone())),
        }
        Ok(())
    }

    fn enter(
        &mut self,
        at: Timestamp,
        step: StepIndex,
        state: StepState,
    ) -> &mut super::StepLedger {
        let ledger = &mut self.steps[step.usize()];
        (ledger.state, ledger.changed_at) = (state, Some(at));
        (ledger.wake_at, ledger.held_since, ledger.spent) = (None, None, false);
        ledger
    }

    fn receive(&mut self, at: Timestamp, step: StepIndex) {
        let forward = self.phase == Phase::Forward;
        let state = if forward { StepState::Received } else { StepState::Compensating };
        let ledger = self.enter(at, step, state);
        ledger.started_at.get_or_insert(at);
        ledger.budget_used += 1;
        if forward {
            ledger.attempts += 1;
        } else {
            ledger.compensation_attempts += 1;
        }
    }

    /// Takes an intent back: the step is again what it was before, and so are its budgets.
    fn withdraw(&mut self, at: Timestamp, step: StepIndex, op: Op) {
        let ledger = &self.steps[step.usize()];
        let state = match op {
            Op::Action if ledger.attempts <= 1 => StepState::Pending,
            Op::Action => StepState::Failed,
            Op::Compensation if ledger.compensation_attempts > 1 => StepState::CompensationFailed,
            Op::Compensation if ledger.output.is_some() => StepState::Processed,
            Op::Compensation => StepState::Failed,
        };
        let ledger = self.enter(at, step, state);
        ledger.budget_used = ledger.budget_used.saturating_sub(1);
        match op {
            Op::Action => ledger.attempts -= 1,
            Op::Compensation => ledger.compensation_attempts -= 1,
        }
        if ledger.attempts == 0 && state == StepState::Pending {
            (ledger.started_at, ledger.changed_at) = (None, None);
        }
    }

    /// Turns backward: what was spent, waited for or fatal forward no longer matters.
    fn turn(&mut self) {
        self.phase = Phase::Backward;
        (self.stuck, self.losses) = (None, 0);
        self.renew_budgets();
    }

    fn renew_budgets(&mut self) {
        for ledger in &mut self.steps {
            (ledger.wake_at, ledger.held_since, ledger.spent) = (None, None, false);
            ledger.budget_used = 0;
        }
    }

    fn obey(&mut self, at: Timestamp, command: &Command) {
        self.commands.push(command.request_id.clone());
        match &command.action {
            CommandAction::Retry => {
                (self.stuck, self.losses) = (None, 0);
                self.renew_budgets();
            }
            CommandAction::Skip { step, assume } => {
                self.stuck = None;
                let Some(step) = self.spec.find(step) else { return };
                match assume {
                    Assume::Processed(output) => {
                        let ledger = self.enter(at, step, StepState::Processed);
                        (ledger.output, ledger.doubt) = (Some(output.clone()), false);
                        ledger.started_at.get_or_insert(at);
                    }
                    Assume::NoEffect => {
                        let ledger = self.enter(at, step, StepState::Failed);
                        (ledger.doubt, ledger.spent) = (false, true);
                    }
                    Assume::Compensated => {
                        self.enter(at, step, StepState::Compensated);
                    }
                    Assume::EffectRemains => {
                        let ledger = &mut self.steps[step.usize()];
                        (ledger.left, ledger.spent) = (true, false);
                    }
                }
            }
            CommandAction::Pause => self.paused = Some(command.clone()),
            CommandAction::Resume => self.paused = None,
            CommandAction::Compensate | CommandAction::Cancel | CommandAction::Stop => {}
        }
    }

    /// Whether an event may follow; the reason if not.
    fn permit(&self, event: &Event) -> Result<(), String> {
        if let Some((_, verdict)) = &self.ended {
            return Err(format!("the saga has ended ({verdict})"));
        }
        let state = |step: &StepIndex| {
            let known = self.steps.get(step.usize()).map(|ledger| ledger.state);
            known.ok_or_else(|| format!("there is no step {}", step.0))
        };
        let expect = |step: &StepIndex, wanted: StepState| match state(step)? {
            found if found == wanted => Ok(()),
            found => Err(format!("step {} is {}", self.spec.name_of(*step), found.as_str())),
        };
        match event {
            Event::SagaStarted(_) => Err("a saga starts once".to_owned()),
            Event::StepReceived { step, attempt } => {
                state(step)?;
                self.permit_call(*step, Phase::Forward, *attempt)
            }
            Event::CompensationReceived { step, attempt } => {
                state(step)?;
                self.permit_call(*step, Phase::Backward, *attempt)
            }
            Event::CallHeld { step, op, .. } => {
                state(step)?;
                self.permit_open(PlannedCall { step: *step, op: *op })
            }
            Event::StepProcessed { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepRejected { step, .. } => expect(step, StepState::Received),
            Event::CallWithdrawn { step, op: Op::Action, .. } => expect(step, StepState::Received),
            Event::CallWithdrawn { step, op: Op::Compensation, .. } => {
                expect(step, StepState::Compensating)
            }
            Event::StepCompensated { step } | Event::CompensationFailed { step, .. } => {
                expect(step, StepState::Compensating)
            }
            Event::RecoveryBegan { .. } if self.phase == Phase::Backward => {
                Err("the saga is in backward recovery already".to_owned())
            }
            Event::RecoveryBegan { .. } if self.pivot_handed_out() => {
                Err("the pivot was handed out".to_owned())
            }
            Event::SagaEnded { verdict } => self.permit_end(verdict),
            Event::CommandAccepted(command) => {
                self.accepts(command).map_err(|refusal| refusal.to_string())
            }
            // A later reason replaces an earlier one: whoever finds that a saga cannot even be
            // replayed does not know whether it is stuck already.
            Event::WorkerLost | Event::RecoveryBegan { .. } | Event::SagaStuck { .. } => Ok(()),
        }
    }

    fn permit_call(&self, step: StepIndex, phase: Phase, attempt: u32) -> Result<(), String> {
        let ledger = &self.steps[step.usize()];
        if self.phase != phase {
            return Err(format!("the saga moves {:?}", self.phase));
        }
        if self.stuck.is_some() || self.paused.is_some() {
            return Err("the saga is stuck or paused".to_owned());
        }
        let so_far =
            if phase == Phase::Forward { ledger.attempts } else { ledger.compensation_attempts };
        if attempt != so_far + 1 {
            return Err(format!("attempt {attempt} follows attempt {so_far}"));
        }
        let op = if phase == Phase::Forward { Op::Action } else { Op::Compensation };
        self.permit_open(PlannedCall { step, op })
    }

    fn permit_open(&self, call: PlannedCall) -> Result<(), String> {
        if self.open_calls().any(|open| open == call) {
            return Ok(());
        }
        let PlannedCall { step, op } = call;
        let (name, state) = (self.spec.name_of(step), self.steps[step.usize()].state.as_str());
        Err(format!("step {name} is {state} and it is not the turn of its {op}"))
    }

    fn permit_end(&self, verdict: &Verdict) -> Result<(), String> {
        let computed = self.computed_verdict();
        // Earlier releases did not ask for the direction: their logs keep the verdict they were given.
        let of_old = Verdict::compute(Phase::Forward, self.effects());
        if *verdict != computed && *verdict != of_old {
            return Err(format!("the ledger computes {computed:?}"));
        }
        let unsettled = self.effects().any(|(_, effect)| effect == Effect::Unknown);
        if unsettled && !matches!(verdict, Verdict::Stopped { .. }) {
            return Err("an effect is unknown".to_owned());
        }
        Ok(())
    }

    fn short(&self, event: &Event) -> String {
        event.describe(&self.spec)
    }
}
