//! What happened to a saga.

use saga_core::{DefinitionSpec, Timestamp, Transition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

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
