//! The read model: what APIs, dashboards and people see of a saga.

use serde::{Deserialize, Serialize};

use crate::definition::StepKind;
use crate::id::{IdempotencyKey, SagaId};
use crate::payload::Payload;
use crate::saga::{Saga, Status, StepState, WaitReason};
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};

/// A snapshot of a saga at log position `seq`. Times are epoch microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaView {
    /// Its identity.
    pub id: SagaId,
    /// Its definition's name.
    pub name: String,
    /// Its definition's version.
    pub version: u32,
    /// The key under which it was started.
    pub key: Option<IdempotencyKey>,
    /// Where it stands.
    pub status: Status,
    /// Position of the last log row folded into this view.
    pub seq: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it got its verdict.
    pub ended_at: Option<Timestamp>,
    /// Its verdict.
    pub verdict: Option<Verdict>,
    /// What it waits for while it is alive.
    pub wait: Option<Wait>,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// Its input.
    pub input: Payload,
}

/// A wait reason with its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The reason as data.
    #[serde(flatten)]
    pub reason: WaitReason,
    /// The reason in words.
    pub text: String,
}

/// A step of a [`SagaView`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: StepKind,
    /// Its state.
    pub state: StepState,
    /// What is known of its effect.
    pub effect: Effect,
    /// Attempts of the action.
    pub attempts: u32,
    /// Attempts of the compensation.
    pub compensation_attempts: u32,
    /// When it was first called.
    pub started_at: Option<Timestamp>,
    /// When its state last changed.
    pub ended_at: Option<Timestamp>,
    /// Why the last unsuccessful attempt was unsuccessful.
    pub last_error: Option<String>,
    /// What its action answered.
    pub output: Option<Payload>,
}

impl SagaView {
    /// The view of a saga at `now`.
    pub fn of(saga: &Saga, now: Timestamp) -> Self {
        let started = saga.started();
        let steps = saga.spec().steps.iter().zip(saga.steps()).map(|(spec, ledger)| StepView {
            name: spec.name.clone(),
            kind: spec.kind,
            state: ledger.state,
            effect: ledger.effect(),
            attempts: ledger.attempts,
            compensation_attempts: ledger.compensation_attempts,
            started_at: ledger.started_at,
            ended_at: ledger.changed_at.filter(|_| !ledger.in_flight()),
            last_error: ledger.last_error.as_ref().map(ToString::to_string),
            output: ledger.output.clone(),
        });
        Self {
            id: saga.id(),
            name: started.definition.name.clone(),
            version: started.definition.version,
            key: started.key.clone(),
            status: saga.status(),
            seq: saga.head().seq,
            started_at: saga.started_at(),
            ended_at: saga.ended().map(|(at, _)| *at),
            verdict: saga.ended().map(|(_, verdict)| verdict.clone()),
            wait: saga.wait(now).map(Wait::from),
            steps: steps.collect(),
            input: started.input.clone(),
        }
    }
}

impl From<WaitReason> for Wait {
    fn from(reason: WaitReason) -> Self {
        Self { text: reason.to_string(), reason }
    }
}
