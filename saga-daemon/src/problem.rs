//! Errors as people and programs get them: RFC 9457 problems with stable types.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use saga_core::store::StoreError;
use saga_worker::{ClientError, CommandError, StartError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What all problem types begin with.
pub const TYPE_BASE: &str = "https://github.com/saga-engine/saga/problems/";
/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// Longest part of a client's own value that a problem repeats, in characters.
const VALUE_CHARS_MAX: usize = 64;

macro_rules! kinds {
    ($($name:ident, $status:ident, $slug:literal, $title:literal;)*) => {
        /// Every kind of problem this API answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each kind has a title for people")]
        pub enum Kind { $($name),* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The status code it comes with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// The end of its type, stable across releases.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            /// What it is, in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

kinds! {
    Malformed, BAD_REQUEST, "malformed-request", "The request cannot be read";
    Unauthenticated, UNAUTHORIZED, "unauthenticated", "No valid API key";
    Forbidden, FORBIDDEN, "forbidden", "The API key's role does not allow this";
    UnknownRoute, NOT_FOUND, "unknown-route", "There is nothing at this path";
    ForeignOrigin, FORBIDDEN, "foreign-origin", "Pages of this site may not do this";
    SagaNotFound, NOT_FOUND, "saga-not-found", "There is no such saga";
    DefinitionUnknown, NOT_FOUND, "definition-unknown", "There is no such definition";
    WebhookUnknown, NOT_FOUND, "webhook-unknown", "There is no such webhook";
    BulkUnknown, NOT_FOUND, "bulk-unknown", "There is no such bulk";
    WrongMethod, METHOD_NOT_ALLOWED, "method-not-allowed", "The path knows other methods";
    TooSlow, REQUEST_TIMEOUT, "body-too-slow", "The body did not arrive in time";
    KeyConflict, CONFLICT, "key-conflict", "The idempotency key was used for another request";
    IdTaken, CONFLICT, "saga-id-taken", "The saga id belongs to another start";
    Refused, CONFLICT, "command-refused", "The command makes no sense in the saga's state";
    CursorGone, GONE, "cursor-gone", "There is no going on from this cursor";
    Changed, PRECONDITION_FAILED, "precondition-failed", "The saga has moved on";
    TooLarge, PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    NotJson, UNSUPPORTED_MEDIA_TYPE, "not-json", "The body is not declared as JSON";
    WrongHost, MISDIRECTED_REQUEST, "wrong-host", "This server does not answer for that host";
    InvalidInput, UNPROCESSABLE_ENTITY, "invalid-input", "The steps cannot read this input";
    NotWebSocket, UPGRADE_REQUIRED, "upgrade-required", "This is a WebSocket";
    TooManyRequests, TOO_MANY_REQUESTS, "too-many-requests", "The key makes requests faster than it may";
    TooManyStreamsOfKey, TOO_MANY_REQUESTS, "too-many-streams-of-key", "The key holds as many streams as it may";
    TooManyTickets, TOO_MANY_REQUESTS, "too-many-tickets", "Too many tickets wait to be used";
    TooManyBulks, TOO_MANY_REQUESTS, "too-many-bulks", "Too many bulks are under way";
    TooManyDeliveries, TOO_MANY_REQUESTS, "too-many-deliveries", "Too many deliveries wait";
    Internal, INTERNAL_SERVER_ERROR, "internal", "Something here is broken";
    Unreadable, INTERNAL_SERVER_ERROR, "saga-unreadable", "The saga's log cannot be read";
    NoFeed, NOT_IMPLEMENTED, "feed-unsupported", "This store has no feed of all sagas";
    StoreUnavailable, SERVICE_UNAVAILABLE, "store-unavailable", "The store does not answer";
    TooManyStreams, SERVICE_UNAVAILABLE, "too-many-streams", "All places for streams are taken";
    NotReady, SERVICE_UNAVAILABLE, "not-ready", "Not ready for requests";
    TimedOut, GATEWAY_TIMEOUT, "timed-out", "The answer took too long";
}

/// An error answer.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    body: ProblemBody,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// The JSON of a problem (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Which kind of problem: a URI that never changes its meaning.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What happened, what was expected and what to do.
    pub detail: String,
    /// The field, header or parameter concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The beginning of its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What was expected of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The saga concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga_id: Option<String>,
}

impl Problem {
    /// A problem of this kind, with what happened in words.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let body = ProblemBody {
            kind: format!("{TYPE_BASE}{}", kind.slug()),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            field: None,
            value: None,
            expected: None,
            saga_id: None,
        };
        Self(Box::new(Parts { kind, body, headers: Vec::new() }))
    }

    /// A field, header or parameter whose value is not what was expected.
    pub fn field(field: &str, value: &str, expected: &str) -> Self {
        let value: String = value.chars().take(VALUE_CHARS_MAX).collect();
        let mut problem =
            Self::new(Kind::Malformed, format!("`{field}` is {value:?}: expected {expected}"));
        problem.0.body.field = Some(field.to_owned());
        problem.0.body.value = Some(value);
        problem.0.body.expected = Some(expected.to_owned());
        problem
    }

    /// The same with a response header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The same about a saga.
    #[must_use]
    pub fn about(mut self, saga: impl std::fmt::Display) -> Self {
        self.0.body.saga_id = Some(saga.to_string());
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its JSON.
    pub fn body(&self) -> &ProblemBody {
        &self.0.body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let json = serde_json::to_string(&self.0.body).expect("it holds only text and numbers");
        let mut response = (self.0.kind.status(), json).into_response();
        let media_type = HeaderValue::from_static(MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        // For whoever has to say in a word what became of a request.
        response.extensions_mut().insert(self.0.kind);
        for (name, value) in self.0.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<StoreError> for Problem {
    /// The words of a driver may hold addresses; they go to the log, not to the client.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed a request");
        match error {
            StoreError::Unavailable(_) => Self::new(
                Kind::StoreUnavailable,
                "the store does not answer; the request may be repeated under the same key",
            )
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            StoreError::Corrupt(_) | StoreError::Unusable(_) => Self::new(
                Kind::Internal,
                "the store cannot serve this request; the daemon's log says why",
            ),
        }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::NotFound { id } => {
                let detail = format!("{error}: it never was, or its retention is over");
                Self::new(Kind::SagaNotFound, detail).about(id)
            }
            ClientError::Unreadable { id, .. } => {
                Self::new(Kind::Unreadable, error.to_string()).about(id)
            }
            ClientError::Store(store) => store.clone().into(),
        }
    }
}

impl From<StartError> for Problem {
    fn from(error: StartError) -> Self {
        let detail = error.to_string();
        match error {
            StartError::Definition(_) => Self::new(Kind::DefinitionUnknown, detail),
            StartError::Input { .. } => Self::new(Kind::InvalidInput, detail),
            StartError::Conflict { id, .. } => Self::new(Kind::KeyConflict, detail).about(id),
            StartError::IdTaken { id, .. } => Self::new(Kind::IdTaken, detail).about(id),
            StartError::Id { id, expected } => Self::field("X-Saga-ID", &id.to_string(), &expected),
            StartError::Store(store) => store.into(),
            other => Self::new(Kind::Malformed, other.to_string()),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::Refused(saga_core::Refusal::Field { field, .. }) => {
                let mut problem = Self::new(Kind::Malformed, detail);
                problem.0.body.field = Some(field.to_owned());
                problem
            }
            CommandError::Refused(saga_core::Refusal::MovedOn { seq, .. }) => {
                let tag = crate::api::entity_tag(seq);
                Self::new(Kind::Changed, detail).with_header(header::ETAG, tag)
            }
            CommandError::Refused(_) => Self::new(Kind::Refused, detail),
            CommandError::NotFound { id } => ClientError::NotFound { id }.into(),
            CommandError::Conflict { id, .. } => Self::new(Kind::KeyConflict, detail).about(id),
            CommandError::Unanswered { id, .. } => Self::new(Kind::TimedOut, detail).about(id),
            CommandError::Store(store) => store.into(),
        }
    }
}
