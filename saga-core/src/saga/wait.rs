//! What a live saga is waiting for, in data and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Next, PlannedCall, Saga};
use crate::context::Op;
use crate::definition::DefinitionRef;
use crate::digest::Digest;
use crate::time::Timestamp;

/// What a live saga is waiting for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum WaitReason {
    /// For the answer of calls in flight.
    InFlight {
        /// The first step concerned.
        step: String,
        /// Which half of it.
        op: Op,
        /// Number of the attempt.
        attempt: u32,
        /// Since when.
        since: Timestamp,
    },
    /// For the time of the next attempt.
    Retry {
        /// The step.
        step: String,
        /// Which half of it.
        op: Op,
        /// Number of the attempt to come.
        attempt: u32,
        /// When.
        at: Timestamp,
        /// Why the last attempt did not succeed.
        last_error: String,
    },
    /// For a participant's breaker.
    BreakerOpen {
        /// The participant.
        participant: String,
        /// The step that wants to call it.
        step: String,
        /// When it is asked again.
        until: Timestamp,
    },
    /// For a worker to take it up.
    Worker {
        /// Since when it could go on.
        since: Timestamp,
    },
    /// For a worker that knows its definition.
    Definition {
        /// The definition no living worker has registered.
        definition: DefinitionRef,
        /// The structure under which living workers know this version, where they do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known_as: Option<Digest>,
    },
    /// For a worker of the release that wrote the end of its log.
    NewerRelease {
        /// The first log row that this release cannot read.
        seq: u64,
    },
    /// For an operator to resume it.
    Paused {
        /// Who paused it.
        by: String,
        /// Why.
        why: String,
    },
    /// For an operator to mend it.
    Stuck {
        /// A stable code.
        code: String,
        /// The step concerned, if it is about one.
        step: Option<String>,
        /// The reason and the ways out, in words.
        why: String,
    },
}

impl Saga {
    /// What it is waiting for; `None` once it has ended.
    pub fn wait(&self, now: Timestamp) -> Option<WaitReason> {
        Some(match self.next(now) {
            Next::Done(_) => return None,
            Next::Call(_) => WaitReason::Worker { since: now },
            Next::InFlight => self.in_flight(now),
            Next::WaitUntil(at) => self.waiting(now).unwrap_or(WaitReason::Worker { since: at }),
            Next::Paused => {
                let command = self.paused.as_ref();
                WaitReason::Paused {
                    by: command.map(|c| c.actor.clone()).unwrap_or_default(),
                    why: command.map(|c| c.reason.clone()).unwrap_or_default(),
                }
            }
            Next::Stuck(reason) => WaitReason::Stuck {
                code: reason.code().to_owned(),
                step: reason.step().map(|step| self.spec.name_of(step).to_owned()),
                why: reason.describe(&self.spec),
            },
        })
    }

    fn in_flight(&self, now: Timestamp) -> WaitReason {
        let flying = self.spec.steps.iter().zip(&self.steps).find(|(_, ledger)| ledger.in_flight());
        let Some((spec, ledger)) = flying else { return WaitReason::Worker { since: now } };
        let (op, attempt) = match ledger.state {
            super::StepState::Compensating => (Op::Compensation, ledger.compensation_attempts),
            _ => (Op::Action, ledger.attempts),
        };
        let since = ledger.changed_at.unwrap_or(now);
        WaitReason::InFlight { step: spec.name.clone(), op, attempt, since }
    }

    /// The call that is due next; `None` when the saga could go on now.
    fn waiting(&self, now: Timestamp) -> Option<WaitReason> {
        let waits = |call: PlannedCall| Some((self.steps[call.step.usize()].wake_at?, call));
        let (at, call) = self.open_calls().filter_map(waits).min()?;
        if at <= now || self.overdue(now) {
            return None;
        }
        let (spec, ledger) = (self.spec.step(call.step), &self.steps[call.step.usize()]);
        if ledger.held_since.is_some() {
            let participant = spec.participant.clone();
            return Some(WaitReason::BreakerOpen {
                participant,
                step: spec.name.clone(),
                until: at,
            });
        }
        let attempts = match call.op {
            Op::Action => ledger.attempts,
            Op::Compensation => ledger.compensation_attempts,
        };
        Some(WaitReason::Retry {
            step: spec.name.clone(),
            op: call.op,
            attempt: attempts + 1,
            at,
            last_error: ledger.last_error.as_ref().map(ToString::to_string).unwrap_or_default(),
        })
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InFlight { step, op, attempt, since } => {
                write!(f, "{op} of {step} in flight since {since} (attempt {attempt})")
            }
            Self::Retry { step, op, attempt, at, last_error } => {
                write!(f, "attempt {attempt} of the {op} of {step} at {at}; last: {last_error}")
            }
            Self::BreakerOpen { participant, step, until } => {
                write!(f, "breaker of {participant} is open: {step} asks again at {until}")
            }
            Self::Worker { since } => write!(f, "ready since {since}, waiting for a worker"),
            Self::Definition { definition, known_as: None } => {
                write!(f, "no worker knows definition {definition}")
            }
            Self::Definition { definition, known_as: Some(other) } => write!(
                f,
                "no worker knows definition {definition} as this saga was started on it (digest {}): the workers there are know a changed one (digest {other})",
                definition.digest
            ),
            Self::NewerRelease { seq } => write!(
                f,
                "its log is of a newer release from row {seq} on: only a worker of that release can go on"
            ),
            Self::Paused { by, why } => write!(f, "paused by {by}: {why}"),
            Self::Stuck { why, .. } => write!(f, "stuck: {why}"),
        }
    }
}
