//! What a webhook is sent: a CloudEvent (version 1.0, structured JSON) around the transition.

use saga_core::store::FeedEntry;
use saga_core::{DefinitionSpec, Status};
use serde_json::json;

use super::Webhook;
use crate::body::EnvelopeBody;

/// The media type of a delivery.
pub(super) const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What all types begin with.
const TYPE: &str = "com.github.saga-engine.saga";

/// The kinds of events that make a transition worth a delivery.
const KINDS: [&str; 2] = ["saga_ended", "saga_stuck"];

/// One delivery, ready to be signed and sent.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The same at every try: `<saga id>.<position>`.
    pub(super) id: String,
    pub(super) body: String,
}

/// The delivery that a transition is for a webhook, if it is one.
pub(super) fn delivery(
    hook: &Webhook,
    entry: &FeedEntry,
    spec: Option<&DefinitionSpec>,
) -> Option<Delivery> {
    let of_hook = hook.definitions.is_empty() || hook.definitions.contains(&entry.definition.name);
    if !of_hook || !hook.events.contains(&entry.status) {
        return None;
    }
    let envelope = EnvelopeBody::new(entry, spec);
    let is_occasion = envelope.events.iter().any(|event| KINDS.contains(&event.event.as_str()));
    is_occasion.then(|| Delivery {
        id: format!("{}.{}", entry.id, entry.row.seq),
        body: body(&envelope, entry.status),
    })
}

fn body(envelope: &EnvelopeBody, status: Status) -> String {
    let mut data = json!(envelope);
    if let Some(fields) = data.as_object_mut() {
        // They belong to a stream: a place to go on from, and what kind of message it is.
        fields.retain(|name, _| !["cursor", "type"].contains(&name.as_str()));
    }
    json!({
        "specversion": "1.0",
        "id": format!("{}.{}", envelope.saga_id, envelope.seq),
        "source": format!("/v1/sagas/{}", envelope.saga_id),
        "type": format!("{TYPE}.{status}"),
        "subject": envelope.saga_id,
        "time": envelope.at.to_string(),
        "datacontenttype": "application/json",
        "data": data,
    })
    .to_string()
}
