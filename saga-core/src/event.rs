//! The entries of the saga log: facts, in the past tense.
//!
//! To add an event: add the variant here, its one arm in `saga/apply.rs`, its
//! line in [`Event::describe`], and the decision that emits it in
//! `saga/decide.rs`. The exhaustive walk in `saga/tests` covers it from then on.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::context::Op;
use crate::definition::{DefinitionRef, DefinitionSpec};
use crate::failure::{Failure, Rejection, Transient};
use crate::id::{IdempotencyKey, StepIndex};
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::verdict::Verdict;

/// Something that happened to a saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The saga exists. Always the first event, and only that.
    SagaStarted(SagaStarted),
    /// The intent to call an action is durable; the call may be made.
    StepReceived {
        /// Which step.
        step: StepIndex,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// The action's effect is known to have happened.
    StepProcessed {
        /// Which step.
        step: StepIndex,
        /// What it answered.
        output: Payload,
    },
    /// An attempt ended with its effect unknown.
    StepFailed {
        /// Which step.
        step: StepIndex,
        /// Why it is unknown.
        failure: Transient,
        /// When to try again; `None` when there will be no other attempt.
        retry_at: Option<Timestamp>,
    },
    /// The business said no.
    StepRejected {
        /// Which step.
        step: StepIndex,
        /// What it said.
        rejection: Rejection,
    },
    /// A call was held back by its participant's breaker. It was never made.
    CallHeld {
        /// Which step.
        step: StepIndex,
        /// Which half of it.
        op: Op,
        /// When to ask the breaker again.
        until: Timestamp,
    },
    /// A call that was announced has not been made, and will not be: it counts as no attempt and
    /// leaves no doubt. Only whoever was to make the call can know that.
    CallWithdrawn {
        /// Which step.
        step: StepIndex,
        /// Which half of it.
        op: Op,
        /// Why it was not made.
        why: String,
    },
    /// The worker that drove the saga is gone; calls in flight have an unknown outcome.
    WorkerLost,
    /// Backward recovery began.
    RecoveryBegan {
        /// What turned the saga.
        cause: RecoveryCause,
    },
    /// The intent to call a compensation is durable; the call may be made.
    CompensationReceived {
        /// Which step.
        step: StepIndex,
        /// Number of the attempt, from 1.
        attempt: u32,
    },
    /// The compensation has happened.
    StepCompensated {
        /// Which step.
        step: StepIndex,
    },
    /// An attempt at the compensation did not succeed.
    CompensationFailed {
        /// Which step.
        step: StepIndex,
        /// Why.
        failure: Failure,
        /// When to try again; `None` when a person has to look first.
        retry_at: Option<Timestamp>,
    },
    /// Nothing can go on without a person.
    SagaStuck {
        /// Why.
        reason: StuckReason,
    },
    /// An operator command was accepted.
    CommandAccepted(Command),
    /// The saga has its verdict. Always the last event.
    SagaEnded {
        /// The verdict, computed from the ledger.
        verdict: Verdict,
    },
}

/// The facts of a saga's birth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaStarted {
    /// What it is a run of.
    pub definition: DefinitionRef,
    /// Its input.
    pub input: Payload,
    /// The key under which its start is idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// When it turns backward, unless its pivot was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// W3C trace context of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Who started it, where callers have to say who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What turned a saga backward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryCause {
    /// A step was rejected.
    StepRejected {
        /// Which step.
        step: StepIndex,
    },
    /// A step's attempts are spent and its effect is unknown.
    AttemptsSpent {
        /// Which step.
        step: StepIndex,
    },
    /// The saga's deadline passed before its pivot.
    DeadlinePassed,
    /// An operator or the owner of the saga asked for it.
    Commanded,
}

/// Why a saga needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StuckReason {
    /// The pivot's attempts are spent and its effect is unknown.
    PivotUnknown {
        /// The pivot.
        step: StepIndex,
    },
    /// The pivot was rejected after an attempt whose effect is unknown.
    PivotInDoubt {
        /// The pivot.
        step: StepIndex,
    },
    /// A retriable step's attempts are spent.
    RetriableSpent {
        /// Which step.
        step: StepIndex,
    },
    /// A retriable step was rejected.
    RetriableRejected {
        /// Which step.
        step: StepIndex,
    },
    /// A compensation's attempts are spent, or it was rejected.
    CompensationSpent {
        /// Which step.
        step: StepIndex,
    },
    /// Worker after worker died while driving this saga.
    Poison {
        /// Workers lost in a row.
        losses: u32,
    },
    /// The log cannot go on safely, for the reason given.
    LogFull {
        /// Transitions in the log.
        transitions: u64,
    },
    /// The log cannot be replayed, so nobody can say what to do next.
    LogDamaged {
        /// The first fault.
        why: String,
    },
}

impl Event {
    /// The names of all kinds of events, as in the log.
    pub const KINDS: &[&str] = &[
        "saga_started",
        "step_received",
        "step_processed",
        "step_failed",
        "step_rejected",
        "call_held",
        "call_withdrawn",
        "worker_lost",
        "recovery_began",
        "compensation_received",
        "step_compensated",
        "compensation_failed",
        "saga_stuck",
        "command_accepted",
        "saga_ended",
    ];

    /// The name of its kind, as in the log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SagaStarted(_) => "saga_started",
            Self::StepReceived { .. } => "step_received",
            Self::StepProcessed { .. } => "step_processed",
            Self::StepFailed { .. } => "step_failed",
            Self::StepRejected { .. } => "step_rejected",
            Self::CallHeld { .. } => "call_held",
            Self::CallWithdrawn { .. } => "call_withdrawn",
            Self::WorkerLost => "worker_lost",
            Self::RecoveryBegan { .. } => "recovery_began",
            Self::CompensationReceived { .. } => "compensation_received",
            Self::StepCompensated { .. } => "step_compensated",
            Self::CompensationFailed { .. } => "compensation_failed",
            Self::SagaStuck { .. } => "saga_stuck",
            Self::CommandAccepted(_) => "command_accepted",
            Self::SagaEnded { .. } => "saga_ended",
        }
    }

    /// The event in words, for logs and operators.
    pub fn describe(&self, spec: &DefinitionSpec) -> String {
        let name = |step: &StepIndex| spec.name_of(*step);
        match self {
            Self::SagaStarted(SagaStarted { definition, by: Some(by), .. }) => {
                format!("saga {definition} started by {by}")
            }
            Self::SagaStarted(started) => format!("saga {} started", started.definition),
            Self::StepReceived { step, attempt } => {
                format!("step {} received (attempt {attempt})", name(step))
            }
            Self::StepProcessed { step, .. } => format!("step {} processed", name(step)),
            Self::StepFailed { step, failure, retry_at } => {
                format!("step {} failed, {failure}{}", name(step), again(retry_at))
            }
            Self::StepRejected { step, rejection } => {
                format!("step {} failed, {rejection}", name(step))
            }
            Self::CallHeld { step, op, until } => {
                format!("{op} of step {} held back by its breaker until {until}", name(step))
            }
            Self::CallWithdrawn { step, op, why } => {
                format!("{op} of step {} withdrawn before it was called: {why}", name(step))
            }
            Self::WorkerLost => "worker lost".to_owned(),
            Self::RecoveryBegan { cause } => {
                format!("backward recovery began: {}", cause.describe(spec))
            }
            Self::CompensationReceived { step, attempt } => {
                format!("step {} compensating (attempt {attempt})", name(step))
            }
            Self::StepCompensated { step } => format!("step {} compensated", name(step)),
            Self::CompensationFailed { step, failure, retry_at } => {
                format!("compensation of step {} failed, {failure}{}", name(step), again(retry_at))
            }
            Self::SagaStuck { reason } => format!("saga stuck: {}", reason.describe(spec)),
            Self::CommandAccepted(command) => format!("command accepted: {command}"),
            Self::SagaEnded { verdict } => format!("saga ended: {verdict}"),
        }
    }
}

fn again(retry_at: &Option<Timestamp>) -> String {
    retry_at
        .map_or_else(|| "; no further attempt".to_owned(), |at| format!("; next attempt at {at}"))
}

impl RecoveryCause {
    /// The cause in words.
    pub fn describe(&self, spec: &DefinitionSpec) -> String {
        match self {
            Self::StepRejected { step } => format!("step {} was rejected", spec.name_of(*step)),
            Self::AttemptsSpent { step } => {
                format!("the attempts of step {} are spent", spec.name_of(*step))
            }
            Self::DeadlinePassed => "the deadline passed before the pivot".to_owned(),
            Self::Commanded => "it was asked for".to_owned(),
        }
    }
}

impl StuckReason {
    /// Every code there is.
    pub const CODES: [&'static str; 8] = [
        "pivot_unknown",
        "pivot_in_doubt",
        "retriable_spent",
        "retriable_rejected",
        "compensation_spent",
        "poison",
        "log_full",
        "log_damaged",
    ];

    /// The step concerned, if it is about one.
    pub fn step(&self) -> Option<StepIndex> {
        match self {
            Self::PivotUnknown { step }
            | Self::PivotInDoubt { step }
            | Self::RetriableSpent { step }
            | Self::RetriableRejected { step }
            | Self::CompensationSpent { step } => Some(*step),
            Self::Poison { .. } | Self::LogFull { .. } | Self::LogDamaged { .. } => None,
        }
    }

    /// A stable code, for metrics and alerts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PivotUnknown { .. } => "pivot_unknown",
            Self::PivotInDoubt { .. } => "pivot_in_doubt",
            Self::RetriableSpent { .. } => "retriable_spent",
            Self::RetriableRejected { .. } => "retriable_rejected",
            Self::CompensationSpent { .. } => "compensation_spent",
            Self::Poison { .. } => "poison",
            Self::LogFull { .. } => "log_full",
            Self::LogDamaged { .. } => "log_damaged",
        }
    }

    /// The reason and the ways out, in words.
    pub fn describe(&self, spec: &DefinitionSpec) -> String {
        let name = self.step().map_or("", |step| spec.name_of(step));
        match self {
            Self::PivotUnknown { .. } => format!(
                "nobody knows whether pivot {name} happened and its attempts are spent: look at the participant, then retry, skip (processed or no effect) or stop"
            ),
            Self::PivotInDoubt { .. } => format!(
                "pivot {name} was rejected, but an earlier attempt may have happened: look at the participant, then retry, skip (processed or no effect) or stop"
            ),
            Self::RetriableSpent { .. } => {
                format!("the attempts of retriable step {name} are spent: retry, skip or stop")
            }
            Self::RetriableRejected { .. } => {
                format!(
                    "retriable step {name} was rejected, which it must not be: retry, skip or stop"
                )
            }
            Self::CompensationSpent { .. } => format!(
                "the compensation of step {name} does not succeed: mend the participant and retry, or skip or stop (its effect remains)"
            ),
            Self::Poison { losses } => {
                format!(
                    "{losses} workers in a row died, or lost their lease, while driving it: find the cause, then retry or stop"
                )
            }
            Self::LogFull { transitions } => {
                format!("its log has reached {transitions} transitions: stop it")
            }
            Self::LogDamaged { why } => {
                format!("its log cannot be replayed ({why}): restore it, then retry")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_codes_has_every_reason() {
        let step = StepIndex(0);
        let reasons = [
            StuckReason::PivotUnknown { step },
            StuckReason::PivotInDoubt { step },
            StuckReason::RetriableSpent { step },
            StuckReason::RetriableRejected { step },
            StuckReason::CompensationSpent { step },
            StuckReason::Poison { losses: 1 },
            StuckReason::LogFull { transitions: 1 },
            StuckReason::LogDamaged { why: String::new() },
        ];
        for reason in &reasons {
            // A new reason does not compile here until it has its place in both lists.
            match reason {
                StuckReason::PivotUnknown { .. }
                | StuckReason::PivotInDoubt { .. }
                | StuckReason::RetriableSpent { .. }
                | StuckReason::RetriableRejected { .. }
                | StuckReason::CompensationSpent { .. }
                | StuckReason::Poison { .. }
                | StuckReason::LogFull { .. }
                | StuckReason::LogDamaged { .. } => {}
            }
        }
        assert_eq!(reasons.map(|reason| reason.code()), StuckReason::CODES);
    }
}
