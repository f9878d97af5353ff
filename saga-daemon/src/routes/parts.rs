//! What the routes of the table are put together from.

use axum::routing::MethodRouter;

use super::{Access, Answer, Body, Content, Parameter, Place, Route, TICKET, Verb};
use crate::access::Role;
use crate::audit::Trail;
use crate::problem::Kind;
use crate::service::App;

pub(super) const fn path(name: &'static str, about: &'static str) -> Parameter {
    Parameter { place: Place::Path, name, about }
}

pub(super) const fn query(name: &'static str, about: &'static str) -> Parameter {
    Parameter { place: Place::Query, name, about }
}

pub(super) const fn header(name: &'static str, about: &'static str) -> Parameter {
    Parameter { place: Place::Header, name, about }
}

pub(super) const ID: Parameter = path("id", "The saga's id, a UUID.");
pub(super) const LIMIT: Parameter = query("limit", "Size of the page, from 1 to 500. Default 100.");

pub(super) const TICKET_PARAMETER: Parameter = query(
    TICKET,
    "A ticket from POST /v1/tickets, instead of a key in a header, which browsers cannot send here.",
);
pub(super) const LAST_EVENT_ID: Parameter =
    header("Last-Event-ID", "The same, as a reconnecting reader says it; it comes before `after`.");
pub(super) const FEED_AFTER: Parameter = query(
    "after",
    "Begin behind this cursor; or `now`, the default; or `beginning`: with the oldest that is left.",
);
pub(super) const FEED_PARAMETERS: [Parameter; 7] = [
    FEED_AFTER,
    query("name", "Only sagas of this definition."),
    query("key", "Only sagas started under this idempotency key."),
    query("status", "Only transitions after which the saga stood so; separated by commas."),
    query(
        "event",
        "Only transitions with such an event, such as `step_failed`; separated by commas.",
    ),
    query("verdicts", "`true`: only the transitions that end a saga."),
    TICKET_PARAMETER,
];
pub(super) const STREAM_PROBLEMS: &[Kind] = &[
    Kind::ForeignOrigin,
    Kind::CursorGone,
    Kind::TooManyStreams,
    Kind::TooManyStreamsOfKey,
    Kind::NoFeed,
    Kind::StoreUnavailable,
];

pub(super) const fn json(status: u16, schema: &'static str, about: &'static str) -> Answer {
    Answer { status, about, content: Content::Schema(schema) }
}

pub(super) const fn text(media_type: &'static str, about: &'static str) -> Answer {
    Answer { status: 200, about, content: Content::Text(media_type) }
}

pub(super) const fn nothing(status: u16, about: &'static str) -> Answer {
    Answer { status, about, content: Content::Nothing }
}

/// A route to read from.
pub(super) const fn read(
    access: Access,
    path: &'static str,
    operation: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route {
        verb: Verb::Get,
        path,
        access,
        operation,
        summary,
        parameters: &[],
        body: None,
        answers,
        audit: Trail::Nothing,
        problems: &[],
        handler,
    }
}

pub(super) const COMMAND_PARAMETERS: &[Parameter] = &[
    ID,
    header(
        "Idempotency-Key",
        "The command's request id, 1 to 255 bytes: repeating it has no further effect. Made up, and told in the answer, if it is left out.",
    ),
    header(
        "If-Match",
        "Only if the saga still stands where this entity tag says, compared when the command is handed in and, for a single tag, again when it is carried out. A command repeated under its request id is not refused for it.",
    ),
];
pub(super) const COMMAND_ANSWERS: &[Answer] = &[
    json(200, "CommandResult", "Carried out."),
    json(202, "CommandResult", "On record; no worker has taken it up yet."),
];

/// A command to a saga; they differ in their names and words alone.
pub(super) const fn command(
    path: &'static str,
    operation: &'static str,
    audit: Trail,
    summary: &'static str,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route {
        verb: Verb::Post,
        path,
        access: Access::From(Role::Operator),
        operation,
        summary,
        parameters: COMMAND_PARAMETERS,
        body: Some(Body::Schema("Command")),
        answers: COMMAND_ANSWERS,
        audit,
        problems: &[
            Kind::SagaNotFound,
            Kind::Refused,
            Kind::KeyConflict,
            Kind::Changed,
            Kind::Unreadable,
            Kind::StoreUnavailable,
        ],
        handler,
    }
}

macro_rules! gives {
    ($command:ident) => {
        || post(|app, call| api::command::give(app, call, api::command::Verb::$command))
    };
}

pub(super) const WEBHOOK_PARAMETERS: &[Parameter] = &[path("name", "The webhook's name.")];
pub(super) const WEBHOOK_ANSWERS: &[Answer] = &[json(200, "Webhook", "As it stands now.")];

/// A command to a webhook.
pub(super) const fn webhook_command(
    path: &'static str,
    operation: &'static str,
    audit: Trail,
    summary: &'static str,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route {
        verb: Verb::Post,
        path,
        access: Access::From(Role::Operator),
        operation,
        summary,
        parameters: WEBHOOK_PARAMETERS,
        body: Some(Body::Schema("WebhookCommand")),
        answers: WEBHOOK_ANSWERS,
        audit,
        problems: &[
            Kind::WebhookUnknown,
            Kind::SagaNotFound,
            Kind::CursorGone,
            Kind::TooManyDeliveries,
            Kind::NoFeed,
            Kind::StoreUnavailable,
        ],
        handler,
    }
}

macro_rules! webhook {
    ($command:ident) => {
        || post(|app, call| api::webhooks::command(app, call, api::webhooks::Verb::$command))
    };
}

pub(super) const VIEWER: Access = Access::From(Role::Viewer);
pub(super) const STORE: &[Kind] = &[Kind::StoreUnavailable];
pub(super) const ONE_SAGA: &[Kind] =
    &[Kind::SagaNotFound, Kind::Unreadable, Kind::StoreUnavailable];

pub(super) use {gives, webhook};
