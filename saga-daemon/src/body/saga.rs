//! A saga and its steps.

use saga_core::{
    Effect, IdempotencyKey, Payload, SagaId, SagaView, Status, StepKind, StepState, Timestamp,
    Verdict, Wait,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use super::{status, words};

/// A saga at log position `seq`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Saga)]
pub struct SagaBody {
    /// Its identity.
    #[schema(value_type = String, format = "uuid")]
    pub id: SagaId,
    /// The name of its definition.
    pub name: String,
    /// The version of its definition.
    #[schema(format = Int64, maximum = 4_294_967_295_i64)]
    pub version: u32,
    /// The key under which it was started.
    #[schema(value_type = Option<String>)]
    pub key: Option<IdempotencyKey>,
    /// Where it stands.
    #[schema(schema_with = status)]
    pub status: Status,
    /// Position of the last transition folded into this view; the ETag is made of it.
    pub seq: u64,
    /// When it was started.
    #[schema(value_type = i64)]
    pub started_at: Timestamp,
    /// When it got its verdict.
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
    /// Its verdict: `outcome` is completed, compensated or stopped, which lists what `remaining`.
    #[schema(value_type = Option<Object>)]
    pub verdict: Option<Verdict>,
    /// What it waits for while it is alive: `reason`, in words as `text`, and the data of the reason.
    #[schema(value_type = Option<Object>)]
    pub wait: Option<Wait>,
    /// Its steps, in order.
    pub steps: Vec<StepBody>,
    /// Its input: any JSON.
    #[schema(value_type = Value)]
    pub input: Payload,
}

/// A step of a saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Step)]
pub struct StepBody {
    /// Its name.
    pub name: String,
    /// Its kind.
    #[schema(schema_with = step_kind)]
    pub kind: StepKind,
    /// Its state.
    #[schema(schema_with = step_state)]
    pub state: StepState,
    /// What is known of its effect at the participant.
    #[schema(schema_with = effect)]
    pub effect: Effect,
    /// Attempts of the action.
    pub attempts: u32,
    /// Attempts of the compensation.
    pub compensation_attempts: u32,
    /// When it was first called.
    #[schema(value_type = Option<i64>)]
    pub started_at: Option<Timestamp>,
    /// When its state last changed, unless a call is in flight.
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
    /// Why the last unsuccessful attempt was unsuccessful.
    pub last_error: Option<String>,
    /// What its action answered: any JSON.
    #[schema(value_type = Option<Value>)]
    pub output: Option<Payload>,
}

impl From<SagaView> for SagaBody {
    fn from(view: SagaView) -> Self {
        let steps = view.steps.into_iter().map(|step| StepBody {
            name: step.name,
            kind: step.kind,
            state: step.state,
            effect: step.effect,
            attempts: step.attempts,
            compensation_attempts: step.compensation_attempts,
            started_at: step.started_at,
            ended_at: step.ended_at,
            last_error: step.last_error,
            output: step.output,
        });
        Self {
            id: view.id,
            name: view.name,
            version: view.version,
            key: view.key,
            status: view.status,
            seq: view.seq,
            started_at: view.started_at,
            ended_at: view.ended_at,
            verdict: view.verdict,
            wait: view.wait,
            steps: steps.collect(),
            input: view.input,
        }
    }
}

fn step_kind() -> Object {
    words(["compensatable", "pivot", "retriable"])
}

fn step_state() -> Object {
    words([
        "pending",
        "received",
        "processed",
        "failed",
        "compensating",
        "compensated",
        "compensation_failed",
    ])
}

fn effect() -> Object {
    words(["none", "present", "unknown", "undone"])
}
