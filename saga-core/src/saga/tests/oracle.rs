//! Books kept beside a saga by someone who sees only what is sent and answered.
//!
//! They share no code with the machine: the verdict they compute is the one
//! that a careful person with pencil and paper would give.

use std::sync::Arc;

use crate::command::Assume;
use crate::context::Op;
use crate::event::Event;
use crate::failure::Failure;
use crate::payload::Payload;
use crate::saga::PlannedCall;
use crate::verdict::{Effect, Remaining, Verdict};

/// What can be known of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Belief {
    No,
    Maybe,
    Yes,
}

/// The books of all steps, and whether it was announced that they are to be undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Books {
    entries: Vec<Entry>,
    turned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    step: Arc<str>,
    /// Whether the action has happened and nothing undid it.
    happened: Belief,
    /// An attempt to compensate came back without an answer.
    perhaps_undone: bool,
    in_flight: Option<Op>,
}

impl Books {
    pub(super) fn of(steps: impl Iterator<Item = Arc<str>>) -> Self {
        let entry =
            |step| Entry { step, happened: Belief::No, perhaps_undone: false, in_flight: None };
        Self { entries: steps.map(entry).collect(), turned: false }
    }

    pub(super) fn belief(&self, step: usize) -> Belief {
        let entry = &self.entries[step];
        match entry.in_flight {
            Some(_) => Belief::Maybe,
            None if entry.perhaps_undone => Belief::Maybe,
            None => entry.happened,
        }
    }

    pub(super) fn sent(&mut self, call: PlannedCall) {
        let entry = &mut self.entries[call.step.usize()];
        assert_eq!(entry.in_flight, None, "one call at a time");
        entry.in_flight = Some(call.op);
    }

    pub(super) fn answered(&mut self, call: PlannedCall, result: &Result<Payload, Failure>) {
        let entry = &mut self.entries[call.step.usize()];
        assert_eq!(entry.in_flight.take(), Some(call.op), "no answer without an intent");
        match (call.op, result) {
            (Op::Action, Ok(_)) => entry.happened = Belief::Yes,
            (Op::Action, Err(Failure::Transient(_))) => entry.happened = Belief::Maybe,
            (Op::Action, Err(Failure::Rejected(rejection))) if rejection.settled => {
                entry.happened = Belief::No;
            }
            // This attempt had no effect: what was known before it still holds.
            (Op::Action, Err(Failure::Rejected(_))) => {}
            (Op::Compensation, Ok(_)) => {
                (entry.happened, entry.perhaps_undone) = (Belief::No, false)
            }
            (Op::Compensation, Err(Failure::Transient(_))) => entry.perhaps_undone = true,
            (Op::Compensation, Err(Failure::Rejected(rejection))) => {
                entry.perhaps_undone &= !rejection.settled;
            }
        }
    }

    /// The call was not made after all: what was known before it still holds.
    pub(super) fn withdrawn(&mut self, call: PlannedCall) {
        let entry = &mut self.entries[call.step.usize()];
        assert_eq!(
            entry.in_flight.take(),
            Some(call.op),
            "nothing is taken back without an intent"
        );
    }

    /// The worker is gone, and with it the answers to everything in flight.
    pub(super) fn lost(&mut self) {
        for entry in &mut self.entries {
            match entry.in_flight.take() {
                Some(Op::Action) => entry.happened = Belief::Maybe,
                Some(Op::Compensation) => entry.perhaps_undone = true,
                None => {}
            }
        }
    }

    /// An operator, who is taken at his word, says how it is.
    pub(super) fn told(&mut self, step: &str, assume: &Assume) {
        let entry =
            self.entries.iter_mut().find(|entry| *entry.step == *step).expect("a step of the saga");
        match assume {
            Assume::Processed(_) => entry.happened = Belief::Yes,
            Assume::NoEffect => entry.happened = Belief::No,
            Assume::Compensated => (entry.happened, entry.perhaps_undone) = (Belief::No, false),
            Assume::EffectRemains => {}
        }
    }

    /// What was announced: whoever hears that a saga turns back no longer hopes for its end.
    pub(super) fn heard(&mut self, events: &[Event]) {
        self.turned |= events.iter().any(|event| matches!(event, Event::RecoveryBegan { .. }));
    }

    /// Whether it was announced that effects are to be undone.
    pub(super) fn turned(&self) -> bool {
        self.turned
    }

    /// How the saga has ended, if it has ended now.
    pub(super) fn verdict(&self) -> Verdict {
        let beliefs: Vec<_> = (0..self.entries.len()).map(|step| self.belief(step)).collect();
        if !self.turned && beliefs.iter().all(|belief| *belief == Belief::Yes) {
            return Verdict::Completed;
        }
        if beliefs.iter().all(|belief| *belief == Belief::No) {
            return Verdict::Compensated;
        }
        let left = |(entry, belief): (&Entry, Belief)| {
            let effect = match belief {
                Belief::No => return None,
                Belief::Maybe => Effect::Unknown,
                Belief::Yes => Effect::Present,
            };
            Some(Remaining { step: entry.step.to_string(), effect })
        };
        Verdict::Stopped { remaining: self.entries.iter().zip(beliefs).filter_map(left).collect() }
    }
}
