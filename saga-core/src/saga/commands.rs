//! Operator commands: where they make sense, and what follows from them.

use super::{HandleError, Phase, Saga, StepState};
use crate::command::{Assume, Command, CommandAction, Refusal};
use crate::definition::StepKind;
use crate::event::{Event, RecoveryCause};
use crate::id::StepIndex;
use crate::time::Timestamp;

impl Saga {
    /// Carries a command out. One whose request id was accepted before changes nothing.
    pub(super) fn command(
        &mut self,
        events: &mut Vec<Event>,
        now: Timestamp,
        command: Command,
    ) -> Result<(), HandleError> {
        if self.has_accepted(&command.request_id) {
            return Ok(());
        }
        command.check()?;
        command.check_position(self.head.seq)?;
        self.accepts(&command)?;
        let action = command.action.clone();
        self.record(events, now, Event::CommandAccepted(command))?;
        let follow_up = match action {
            CommandAction::Cancel | CommandAction::Compensate if self.phase == Phase::Forward => {
                Event::RecoveryBegan { cause: RecoveryCause::Commanded }
            }
            CommandAction::Stop => Event::SagaEnded { verdict: self.computed_verdict() },
            _ => return Ok(()),
        };
        Ok(self.record(events, now, follow_up)?)
    }

    /// Whether a command makes sense now.
    pub(super) fn accepts(&self, command: &Command) -> Result<(), Refusal> {
        if let Some((_, verdict)) = &self.ended {
            return Err(Refusal::Ended { verdict: verdict.to_string() });
        }
        match &command.action {
            // Whatever else were accepted would make a full log longer.
            action if self.log_is_full() && *action != CommandAction::Stop => Err(Refusal::LogFull),
            CommandAction::Retry => self.accepts_retry(),
            CommandAction::Skip { step, assume } => self.accepts_skip(step, assume),
            // Asking twice for what is under way is no mistake of the one who cancels; an
            // operator who forces it expects something to happen.
            CommandAction::Compensate if self.phase == Phase::Backward => {
                Err(Refusal::CompensatingAlready)
            }
            CommandAction::Cancel | CommandAction::Compensate => self.accepts_turn(),
            CommandAction::Stop => Ok(()),
            CommandAction::Pause if self.paused.is_some() => Err(Refusal::Paused),
            CommandAction::Pause => Ok(()),
            CommandAction::Resume if self.paused.is_none() => Err(Refusal::NotPaused),
            CommandAction::Resume => Ok(()),
        }
    }

    fn accepts_retry(&self) -> Result<(), Refusal> {
        let waits = self.open_calls().any(|call| self.steps[call.step.usize()].wake_at.is_some());
        let spent = self.steps.iter().any(|ledger| ledger.spent);
        if self.stuck.is_some() || waits || spent { Ok(()) } else { Err(Refusal::NothingToRetry) }
    }

    fn accepts_turn(&self) -> Result<(), Refusal> {
        if self.phase == Phase::Forward && self.pivot_handed_out() {
            let step = self.spec.steps.iter().find(|step| step.kind != StepKind::Compensatable);
            let step = step.map(|step| step.name.clone()).unwrap_or_default();
            return Err(Refusal::PivotHandedOut { step });
        }
        Ok(())
    }

    fn accepts_skip(&self, name: &str, assume: &Assume) -> Result<(), Refusal> {
        let step = self.spec.find(name).ok_or_else(|| Refusal::UnknownStep {
            step: name.to_owned(),
            known: self.spec.steps.iter().map(|step| step.name.clone()).collect(),
        })?;
        let ledger = &self.steps[step.usize()];
        let (step_name, state) = (name.to_owned(), ledger.state.as_str().to_owned());
        if ledger.in_flight() {
            return Err(Refusal::InFlight { step: step_name, state });
        }
        let why = match (self.phase, assume) {
            (Phase::Forward, Assume::Processed(_)) => self.why_not_processed(step),
            (Phase::Forward, Assume::NoEffect) => self.why_not_without_effect(step),
            (Phase::Forward, Assume::Compensated | Assume::EffectRemains) => {
                Some("a compensation is settled only in backward recovery")
            }
            (Phase::Backward, Assume::Compensated | Assume::EffectRemains) => {
                let nothing_left = !self.to_compensate(step);
                nothing_left.then_some("it has no effect left to compensate")
            }
            (Phase::Backward, Assume::Processed(_) | Assume::NoEffect) => {
                Some("the saga is in backward recovery, where only a compensation can be left out")
            }
        };
        match why {
            None => Ok(()),
            Some(why) => Err(Refusal::NotSkippable { step: step_name, state, why: why.to_owned() }),
        }
    }

    fn why_not_processed(&self, step: StepIndex) -> Option<&'static str> {
        let waiting =
            matches!(self.steps[step.usize()].state, StepState::Pending | StepState::Failed);
        let its_turn = self.forward_stage() == Some(self.spec.step(step).stage);
        (!waiting || !its_turn)
            .then_some("only a pending or failed step whose turn it is can be skipped")
    }

    fn why_not_without_effect(&self, step: StepIndex) -> Option<&'static str> {
        if self.spec.step(step).kind == StepKind::Retriable {
            return Some("a retriable step has to happen: skip it as processed, retry it or stop");
        }
        let failed = self.steps[step.usize()].state == StepState::Failed;
        (!failed).then_some("only a failed step can be taken as without effect")
    }
}
