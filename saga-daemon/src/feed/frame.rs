//! A transition as all subscribers get it, written once.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Bytes;
use saga_core::store::{Cursor, FeedEntry};
use saga_core::{DefinitionSpec, Event, Status};
use serde::Serialize;

use crate::body::EnvelopeBody;

/// A transition, ready to be sent.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The place behind it.
    pub(crate) cursor: Cursor,
    pub(super) name: String,
    pub(super) key: Option<String>,
    pub(super) status: Status,
    /// The kinds of its events, a bit each in the order of [`Event::KINDS`].
    pub(super) kinds: u32,
    /// As a server-sent event.
    sse: Bytes,
    /// Where in it the JSON stands.
    json: Range<usize>,
}

impl Frame {
    /// Writes a transition, with the names of the steps where the definition is known.
    pub(super) fn new(entry: FeedEntry, spec: Option<&DefinitionSpec>) -> Arc<Self> {
        let body = EnvelopeBody::new(&entry, spec);
        let kinds = body.events.iter().fold(0, |bits, event| bits | bit(&event.event));
        let FeedEntry { cursor, definition, key, status, .. } = entry;
        let (sse, json) = sse("transition", Some(&cursor), &body);
        let key = key.map(|key| key.as_str().to_owned());
        Arc::new(Self { cursor, name: definition.name, key, status, kinds, sse, json })
    }

    /// As a server-sent event.
    pub(crate) fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Bytes {
        self.sse.slice(self.json.clone())
    }

    /// Bytes of its text.
    pub(super) fn len(&self) -> usize {
        self.sse.len()
    }
}

/// The bit of a kind of event.
pub(super) fn bit(kind: &str) -> u32 {
    let nth = Event::KINDS.iter().position(|known| *known == kind);
    nth.map_or(0, |nth| 1 << nth)
}

/// A server-sent event, and where in it the JSON stands.
pub(crate) fn sse(
    event: &str,
    cursor: Option<&Cursor>,
    data: &impl Serialize,
) -> (Bytes, Range<usize>) {
    let data = serde_json::to_string(data).expect("bodies hold only text, numbers and JSON");
    let mut text = String::with_capacity(data.len() + 128);
    if let Some(cursor) = cursor {
        text.push_str(&format!("id: {cursor}\n"));
    }
    text.push_str(&format!("event: {event}\ndata: "));
    let begin = text.len();
    text.push_str(&data);
    let json = begin..text.len();
    text.push_str("\n\n");
    (text.into(), json)
}
