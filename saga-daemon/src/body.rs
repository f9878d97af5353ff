//! The JSON bodies of the API. All times are whole microseconds since 1970-01-01T00:00:00Z.

use std::collections::BTreeMap;

use saga_core::store::{SagaRow, WorkerRow};
use saga_core::{
    DefinitionRef, DefinitionSpec, Effect, IdempotencyKey, Payload, SagaId, SagaView, Status,
    StepKind, StepState, Timestamp, Transition, Verdict, Wait, WorkerId,
};
use saga_worker::BreakerView;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

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

/// One line of a list of sagas.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaSummary)]
pub struct SummaryBody {
    /// Its identity.
    #[schema(value_type = String, format = "uuid")]
    pub id: SagaId,
    /// The name of its definition.
    pub name: String,
    /// The version of its definition.
    pub version: u32,
    /// The key under which it was started.
    #[schema(value_type = Option<String>)]
    pub key: Option<IdempotencyKey>,
    /// Where it stands.
    #[schema(schema_with = status)]
    pub status: Status,
    /// Position of its last transition.
    pub seq: u64,
    /// When it was started.
    #[schema(value_type = i64)]
    pub started_at: Timestamp,
    /// When it got its verdict.
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
    /// What it waits for, unless a worker is busy with it.
    #[schema(value_type = Option<Object>)]
    pub wait: Option<Wait>,
    /// The worker that drives it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<WorkerId>,
}

impl From<SagaRow> for SummaryBody {
    fn from(row: SagaRow) -> Self {
        Self {
            id: row.id,
            name: row.definition.name,
            version: row.definition.version,
            key: row.key,
            status: row.summary.status,
            seq: row.seq,
            started_at: row.started_at,
            ended_at: row.summary.ended_at,
            wait: row.summary.wait.map(Wait::from),
            owner: row.owner,
        }
    }
}

/// A page of sagas, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaList)]
pub struct ListBody {
    /// The sagas of this page.
    pub sagas: Vec<SummaryBody>,
    /// How many sagas of the whole store stand where, every status listed.
    pub counts: BTreeMap<String, u64>,
    /// The `before` of the next page, if this one is full.
    #[schema(value_type = Option<String>)]
    pub next: Option<SagaId>,
}

/// A page of a saga's log, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Log)]
pub struct LogBody {
    /// The transitions of this page.
    pub transitions: Vec<TransitionBody>,
    /// The `after` of the next page, if this one is full.
    pub next: Option<u64>,
}

/// Events that became durable together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Transition)]
pub struct TransitionBody {
    /// Position in the log, from 1, without gaps.
    pub seq: u64,
    /// Epoch of the worker that wrote it.
    pub epoch: u64,
    /// When it was decided.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// What happened, in order.
    pub events: Vec<EventBody>,
}

/// Something that happened to a saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    /// What happened, such as `step_processed`.
    pub event: String,
    /// The step concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// In words.
    pub text: String,
    /// The data of the event.
    #[schema(value_type = Value)]
    pub data: Value,
}

impl TransitionBody {
    /// A transition, with the names of the steps where the definition is known.
    pub fn new(transition: &Transition, spec: Option<&DefinitionSpec>) -> Self {
        let events = transition.events.iter().map(|event| {
            let text = spec.map_or_else(|| format!("{event:?}"), |spec| event.describe(spec));
            let value = serde_json::to_value(event).unwrap_or_default();
            let (event, data) = match value {
                Value::Object(object) => object.into_iter().next().unwrap_or_default(),
                Value::String(word) => (word, Value::Null),
                other => (String::new(), other),
            };
            let step = data
                .get("step")
                .and_then(Value::as_u64)
                .and_then(|at| Some(spec?.steps.get(usize::try_from(at).ok()?)?.name.clone()));
            EventBody { event, step, text, data }
        });
        let Transition { seq, epoch, at, .. } = *transition;
        Self { seq, epoch, at, events: events.collect() }
    }
}

/// What a command says beside its name. `step` and `assume` are for `skip` alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Command)]
pub struct CommandBody {
    /// Why: 1 to 1024 bytes, kept in the log.
    pub reason: String,
    /// Who asks, in their own words. Whose API key it is, is kept beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// `skip`: the step's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `skip`: what to take for granted: `{"processed": <output>}`, `"no_effect"`, `"compensated"`
    /// or `"effect_remains"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub assume: Option<Value>,
}

/// What became of a command, and the saga after it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CommandResult)]
pub struct CommandResultBody {
    /// The request id under which it can be repeated without further effect.
    pub request_id: String,
    /// Whether it has been carried out. `false`: it is on record and will be, by the worker that
    /// takes the saga up.
    pub carried_out: bool,
    /// The saga.
    pub saga: SagaBody,
}

/// The definitions that living workers know.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DefinitionList)]
pub struct DefinitionsBody {
    /// By name and version.
    pub definitions: Vec<DefinitionBody>,
}

/// A definition.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Definition)]
pub struct DefinitionBody {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Digest of its structure, in hexadecimal.
    pub digest: String,
    /// How many living workers know it.
    pub workers: usize,
    /// How long after its start a saga turns backward, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Its steps with their policies.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<Value>,
}

impl DefinitionBody {
    /// A definition as this many workers know it.
    pub fn new(spec: &DefinitionSpec, workers: usize) -> Self {
        let step = |step| serde_json::to_value(step).unwrap_or_default();
        Self {
            name: spec.name.clone(),
            version: spec.version,
            digest: spec.digest().to_string(),
            workers,
            deadline_ms: spec.deadline_ms,
            steps: spec.steps.iter().map(step).collect(),
        }
    }
}

/// The workers on record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkerList)]
pub struct WorkersBody {
    /// Also those whose lease has run out and that nobody has cleared away.
    pub workers: Vec<WorkerBody>,
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerBody {
    /// Its identity.
    #[schema(value_type = String, format = "uuid")]
    pub id: WorkerId,
    /// Its name for people.
    pub name: String,
    /// When its lease runs out, by the store's clock.
    #[schema(value_type = i64)]
    pub lease_until: Timestamp,
    /// Whether it has run out.
    pub expired: bool,
    /// The definitions it knows, such as `place-order v2`.
    pub definitions: Vec<String>,
}

impl From<WorkerRow> for WorkerBody {
    fn from(row: WorkerRow) -> Self {
        Self {
            id: row.card.id,
            name: row.card.name,
            lease_until: row.lease_until,
            expired: row.expired,
            definitions: row.card.definitions.iter().map(DefinitionRef::to_string).collect(),
        }
    }
}

/// The breakers of this daemon's worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BreakerList)]
pub struct BreakersBody {
    /// One per participant and direction, from its first call on.
    pub breakers: Vec<BreakerBody>,
}

/// A breaker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Breaker)]
pub struct BreakerBody {
    /// The participant it guards.
    pub participant: String,
    /// The direction: `action` or `compensation`.
    pub op: String,
    /// `closed`, `open`, `half_open` or `releasing`.
    #[schema(value_type = String)]
    pub state: Value,
}

impl From<BreakerView> for BreakerBody {
    fn from(view: BreakerView) -> Self {
        let state = serde_json::to_value(view.state).unwrap_or_default();
        Self { participant: view.participant, op: view.op.to_string(), state }
    }
}

/// How the daemon is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthBody {
    /// `ok`.
    pub status: String,
    /// The release.
    pub release: String,
}

impl Default for HealthBody {
    fn default() -> Self {
        Self { status: "ok".to_owned(), release: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

fn words<const N: usize>(words: [&str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

fn status() -> Object {
    words(Status::ALL.map(Status::as_str))
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
