//! What is pushed.

use std::time::Duration;

use saga_core::store::{Cursor, FeedEntry};
use saga_core::{DefinitionSpec, IdempotencyKey, SagaId, Status, Timestamp, Transition};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EventBody, TransitionBody, status};

/// A transition of any saga.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Envelope)]
pub struct EnvelopeBody {
    /// `transition`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The place behind it: where to go on after it was seen.
    pub cursor: String,
    /// The saga.
    #[schema(value_type = String, format = "uuid")]
    pub saga_id: SagaId,
    /// The name of its definition.
    pub name: String,
    /// The version of its definition.
    #[schema(format = Int64, maximum = 4_294_967_295_i64)]
    pub version: u32,
    /// The key under which it was started.
    #[schema(value_type = Option<String>)]
    pub key: Option<IdempotencyKey>,
    /// Where it stood after this transition.
    #[schema(schema_with = status)]
    pub status: Status,
    /// Position in its log, from 1, without gaps.
    pub seq: u64,
    /// When it was decided.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// What happened, in order.
    pub events: Vec<EventBody>,
    /// Why this release cannot read what happened, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// That a stream is alive.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Beat)]
pub struct BeatBody {
    /// `ready` at the beginning of a stream, else `heartbeat`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Everything up to this place was sent, as far as the filter lets it through.
    pub cursor: String,
    /// For how many milliseconds a transition has been waiting that is committed and cannot be
    /// shown yet, because an older transaction is still open or the store does not answer.
    pub lag_ms: u64,
}

impl EnvelopeBody {
    /// What a transition is to those who are told of it, with the names of the steps where the
    /// definition is known.
    pub fn new(entry: &FeedEntry, spec: Option<&DefinitionSpec>) -> Self {
        let FeedEntry { cursor, id, definition, key, status, row } = entry;
        let (events, unreadable) = match row.decode() {
            Ok(transition) => (transition.events, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let transition = Transition { seq: row.seq, epoch: row.epoch, at: row.at, events };
        Self {
            kind: "transition".to_owned(),
            cursor: cursor.to_string(),
            saga_id: *id,
            name: definition.name.clone(),
            version: definition.version,
            key: key.clone(),
            status: *status,
            seq: row.seq,
            at: row.at,
            events: TransitionBody::new(&transition, spec).events,
            unreadable,
        }
    }
}

impl BeatBody {
    /// A sign of life of this kind.
    pub fn new(kind: &str, cursor: &Cursor, lag: Duration) -> Self {
        let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
        Self { kind: kind.to_owned(), cursor: cursor.to_string(), lag_ms }
    }
}

/// The right to open one stream.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Ticket)]
pub struct TicketBody {
    /// For `?ticket=`. It works once, at the daemon that gave it.
    pub ticket: String,
    /// For how many milliseconds it is good.
    pub valid_ms: u64,
}
