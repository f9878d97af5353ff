//! What the guard rows of a step mean for a call that has arrived. Pure.

use serde::Serialize;

use super::{BarrierError, Refusal};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use crate::faults::{self, Plant};

/// The recorded answers of a step's two calls, as far as there are any.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) action: Option<Answer>,
    pub(super) compensation: Option<Answer>,
}

/// What the guard rows say about a call that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is new: run the business code. A compensation is given the recorded output of its
    /// action, as JSON; an action has no use for it and gets `null`.
    Run { output: String },
    /// It came before: the recorded answer again.
    Replay(Answer),
    /// Run nothing, record this answer, and first, where one is due, the refusal of the action.
    Record { refusal_of_action: Option<Answer>, answer: Answer },
}

impl Guards {
    pub(super) fn decide(self, identity: &CallIdentity) -> Decision {
        match self.remembered(identity.op).judge(identity) {
            Decision::Record { answer, .. } if faults::planted(Plant::NoTombstone) => {
                Decision::Record { refusal_of_action: None, answer }
            }
            decision => decision,
        }
    }

    /// What is left of the guards under a planted bug; without one, all of it.
    fn remembered(mut self, op: Op) -> Self {
        if op == Op::Action && faults::planted(Plant::NoTombstone) {
            self.compensation = None;
        }
        if op == Op::Action && faults::planted(Plant::NoIdempotencyKey) {
            self.action = None;
        }
        self
    }

    fn judge(self, identity: &CallIdentity) -> Decision {
        let refusal_of_action = || {
            let action = CallIdentity { op: Op::Action, ..identity.clone() };
            Answer::dangling_action(&action.idempotency_key())
        };
        match (identity.op, self.action, self.compensation) {
            (Op::Action, Some(first), _) | (Op::Compensation, Some(_), Some(first)) => {
                Decision::Replay(first)
            }
            (Op::Action, None, None) => Decision::Run { output: "null".to_owned() },
            // Only pruning can have taken the action's row; refusing it stays right.
            (Op::Action, None, Some(_)) => {
                Decision::Record { refusal_of_action: None, answer: refusal_of_action() }
            }
            (Op::Compensation, None, Some(first)) => {
                Decision::Record { refusal_of_action: Some(refusal_of_action()), answer: first }
            }
            (Op::Compensation, None, None) => Decision::Record {
                refusal_of_action: Some(refusal_of_action()),
                answer: Answer::nothing_to_compensate(),
            },
            (Op::Compensation, Some(action), None) if action.is_processed() => {
                Decision::Run { output: action.body().to_owned() }
            }
            (Op::Compensation, Some(_), None) => Decision::Record {
                refusal_of_action: None,
                answer: Answer::nothing_to_compensate(),
            },
        }
    }
}

/// The answer that the business code's result makes. Only a recorded one leaves a trace, and only
/// a processed one keeps the business change.
pub(super) fn settle<T: Serialize>(
    op: Op,
    result: Result<T, Refusal>,
) -> Result<Answer, BarrierError> {
    let answered = result.and_then(|output| Ok(Answer::processed(&output)?.recorded()));
    match (answered, op) {
        (Ok(answer), _) => Ok(answer),
        (Err(Refusal::Rejected(reason)), Op::Action) => Ok(Answer::rejected(reason).recorded()),
        (Err(Refusal::Rejected(reason)), Op::Compensation) => Ok(Answer::rejected(reason)),
        (Err(Refusal::NotYet { reason, retry_after }), _) => {
            Ok(Answer::not_yet(reason, retry_after))
        }
        (Err(Refusal::Failed(error)), _) => Err(BarrierError::Business(error)),
    }
}
