//! Participants that honour the barrier, and a network that loses and delays.

use crate::context::Op;
use crate::failure::Failure;
use crate::payload::Payload;
use crate::saga::PlannedCall;

/// What really happened at one participant.
#[derive(Clone, Debug, Default)]
struct Participant {
    applied: u32,
    undone: u32,
    /// It has recorded that the action is refused, once and for all.
    action_refused: bool,
    /// The same for the compensation.
    compensation_refused: bool,
    /// The compensation has come: an action that comes later is refused.
    tombstone: bool,
}

/// How a participant is disposed towards a call that it has not answered before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Accept,
    Refuse,
    RefuseForGood,
}

/// All participants, and the messages still under way to them.
#[derive(Clone, Debug)]
pub(super) struct World {
    participants: Vec<Participant>,
    late: Vec<PlannedCall>,
}

impl World {
    pub(super) fn of(steps: usize) -> Self {
        Self { participants: vec![Participant::default(); steps], late: Vec::new() }
    }

    /// Delivers a call and returns the participant's answer, which may get lost.
    pub(super) fn deliver(&mut self, call: PlannedCall, mood: Mood) -> Result<Payload, Failure> {
        let participant = &mut self.participants[call.step.usize()];
        let (done, refused) = match call.op {
            Op::Action => (participant.applied > 0, &mut participant.action_refused),
            Op::Compensation => (participant.tombstone, &mut participant.compensation_refused),
        };
        if done {
            return Ok(Payload::null());
        }
        if *refused || (call.op == Op::Action && participant.tombstone) {
            return Err(Failure::rejected_for_good("refused before"));
        }
        match (mood, call.op) {
            (Mood::Refuse, _) => return Err(Failure::rejected("not this time")),
            (Mood::RefuseForGood, _) => {
                *refused = true;
                return Err(Failure::rejected_for_good("never"));
            }
            (Mood::Accept, Op::Action) => participant.applied += 1,
            (Mood::Accept, Op::Compensation) => {
                participant.undone += participant.applied;
                participant.tombstone = true;
            }
        }
        Ok(Payload::null())
    }

    /// Leaves a call on its way: it will arrive later than anybody waits for it.
    pub(super) fn delay(&mut self, call: PlannedCall) {
        self.late.push(call);
    }

    /// A delayed call arrives after all. Nobody hears the answer.
    pub(super) fn late_delivery(&mut self, which: usize) {
        if !self.late.is_empty() {
            let call = self.late.swap_remove(which % self.late.len());
            let _nobody_listens = self.deliver(call, Mood::Accept);
        }
    }

    /// Everything that is still under way arrives.
    pub(super) fn deliver_the_rest(&mut self) {
        while !self.late.is_empty() {
            self.late_delivery(0);
        }
    }

    /// Effects present at a participant.
    pub(super) fn effects(&self, step: usize) -> u32 {
        self.participants[step].applied - self.participants[step].undone
    }

    /// A person does by hand what the action should have done, if it has not happened.
    pub(super) fn do_by_hand(&mut self, step: usize) {
        let participant = &mut self.participants[step];
        assert!(!participant.tombstone, "nothing is done after its compensation");
        participant.applied = 1;
    }

    /// A person does by hand what the compensation should have done, and keeps late actions out.
    pub(super) fn undo_by_hand(&mut self, step: usize) {
        let participant = &mut self.participants[step];
        (participant.undone, participant.tombstone) = (participant.applied, true);
    }

    /// A person makes sure that an action without effect stays so. `false` if it has happened.
    pub(super) fn close_by_hand(&mut self, step: usize) -> bool {
        let open = self.effects(step) == 0;
        self.participants[step].action_refused |= open;
        open
    }
}
