//! Every route of the daemon.

use axum::routing::{get, post};

use super::parts::{
    FEED_PARAMETERS, ID, LAST_EVENT_ID, LIMIT, ONE_SAGA, STORE, STREAM_PROBLEMS, TICKET_PARAMETER,
    VIEWER, command, gives, header, json, nothing, path, query, read, text, webhook,
    webhook_command,
};
use super::{Access, Answer, Body, Content, Route, Verb};
use crate::access::Role;
use crate::api;
use crate::audit::Trail;
use crate::problem::Kind;

/// Every route. The router, the documents and the tests are made from it.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        verb: Verb::Post,
        path: "/v1/sagas/{id}",
        access: Access::From(Role::Starter),
        operation: "start",
        summary: "Starts a saga of a definition. The body is its input.",
        parameters: &[
            path("id", "The definition's name."),
            query(
                "wait",
                "How long to wait for the verdict, from 0s to 60s, such as 30s or 500ms.",
            ),
            header(
                "Idempotency-Key",
                "1 to 255 bytes: the same key and input give the same saga, whatever raced; another input is a conflict.",
            ),
            header(
                "X-Saga-ID",
                "The saga's id, chosen by the client: a UUID of version 7. Its last three digits are its bucket: 000 fits every store unless there is a key too, whose bucket it has to be then. The same id and input give the same saga.",
            ),
            header(
                "X-Saga-Version",
                "The version of the definition to start on, instead of the newest. A repeated start finds its saga whatever version it names.",
            ),
            header("traceparent", "W3C trace context that the saga's attempts continue."),
        ],
        body: Some(Body::Any("The saga's input; null if the body is empty.")),
        answers: &[
            json(201, "Saga", "Started; after `wait`, ended too. `Location` says where it is."),
            json(200, "Saga", "It had been started before under this key with this input."),
            json(202, "Saga", "It has no verdict yet after `wait`."),
        ],
        audit: Trail::SagaLog("saga.start"),
        problems: &[
            Kind::DefinitionUnknown,
            Kind::KeyConflict,
            Kind::IdTaken,
            Kind::InvalidInput,
            Kind::SagaNotFound,
            Kind::Unreadable,
            Kind::StoreUnavailable,
        ],
        handler: || post(api::start::start),
    },
    Route {
        parameters: &[
            query("status", "Only these statuses, separated by commas."),
            query("name", "Only this definition."),
            query("version", "Only this version of it."),
            query(
                "step",
                "Only sagas that wait at this step: for an answer, a retry or a breaker, or stuck there. One that a worker is busy with this very moment says no step.",
            ),
            query("key", "Only this idempotency key."),
            query("key_prefix", "Only idempotency keys that begin like this."),
            query(
                "text",
                "Only sagas with this text in their id, definition, key or the reason why they wait, whatever the case.",
            ),
            query(
                "started_after",
                "Only sagas started at this time or later, in microseconds since 1970.",
            ),
            query(
                "started_before",
                "Only sagas started before this time, in microseconds since 1970.",
            ),
            query("before", "The page after the one whose `next` this is."),
            LIMIT,
        ],
        problems: STORE,
        ..read(
            VIEWER,
            "/v1/sagas",
            "list",
            "Sagas, newest first, and how many there are of each status. For `version`, `step`, `key_prefix`, `text` and times 10,000 sagas are looked at for a page, so it may be short and have a `next` all the same.",
            &[json(200, "SagaList", "A page.")],
            || get(api::show::list),
        )
    },
    Route {
        parameters: &[
            ID,
            query(
                "wait",
                "How long to wait for the verdict, or with If-None-Match for any change: from 0s to 60s.",
            ),
            header("If-None-Match", "The entity tag of the view that is known already."),
        ],
        problems: ONE_SAGA,
        ..read(
            VIEWER,
            "/v1/sagas/{id}",
            "get",
            "A saga: where it stands, what it waits for, its steps, its verdict.",
            &[
                json(200, "Saga", "The saga; `ETag` is made of its log position."),
                nothing(304, "It has not moved on."),
            ],
            || get(api::show::get),
        )
    },
    Route {
        parameters: &[
            ID,
            query("after", "Only those after this position: the `next` of the page before."),
            LIMIT,
        ],
        problems: ONE_SAGA,
        ..read(
            VIEWER,
            "/v1/sagas/{id}/log",
            "log",
            "The transitions of a saga, oldest first.",
            &[json(200, "Log", "A page.")],
            || get(api::show::log),
        )
    },
    Route {
        parameters: &[
            ID,
            query("after", "Begin after this position. Default 0: from the start."),
            LAST_EVENT_ID,
            TICKET_PARAMETER,
        ],
        problems: &[
            Kind::SagaNotFound,
            Kind::ForeignOrigin,
            Kind::TooManyStreams,
            Kind::TooManyStreamsOfKey,
            Kind::StoreUnavailable,
        ],
        ..read(
            VIEWER,
            "/v1/sagas/{id}/events",
            "events",
            "The transitions of a saga as server-sent events, as they become durable, without gap or repetition. The stream ends after the verdict.",
            &[
                text(
                    "text/event-stream",
                    "Events named `transition`, with the position as id and a Transition as data; one named `problem` with a Problem as data ends a stream that cannot go on.",
                ),
                nothing(
                    204,
                    "The saga has ended and there is nothing after this position: do not come back.",
                ),
            ],
            || get(api::events::events),
        )
    },
    Route {
        parameters: &{
            let [after, name, key, status, event, verdicts, ticket] = FEED_PARAMETERS;
            [after, LAST_EVENT_ID, name, key, status, event, verdicts, ticket]
        },
        problems: STREAM_PROBLEMS,
        ..read(
            VIEWER,
            "/v1/events",
            "feed",
            "The transitions of all sagas as server-sent events, as they become durable, from any cursor on without gap or repetition; each saga in the order of its log.",
            &[text(
                "text/event-stream",
                "Events named `transition`, with the cursor behind them as id and an Envelope as data. `ready` at the beginning and `heartbeat` in silence have the cursor too, and a Beat as data. One named `reset` with a Problem as data ends a stream whose cursor retention has overtaken: read /v1/sagas anew, then go on with `after=now`. One named `problem` ends a stream that cannot go on.",
            )],
            || get(api::feed::stream),
        )
    },
    Route {
        parameters: &FEED_PARAMETERS,
        problems: &[
            Kind::ForeignOrigin,
            Kind::CursorGone,
            Kind::NotWebSocket,
            Kind::TooManyStreams,
            Kind::TooManyStreamsOfKey,
            Kind::NoFeed,
            Kind::StoreUnavailable,
        ],
        ..read(
            VIEWER,
            "/v1/ws",
            "socket",
            "The same over WebSocket, for clients that change their filter on the way.",
            &[nothing(
                101,
                "A WebSocket. Its text messages are an Envelope, a Beat, or `{\"type\":\"reset\",\"problem\":...}` before an end. The client may send `{\"type\":\"subscribe\"}` with what it wants of `after`, `name`, `key`, `status`, `event` and `verdicts` beside it, and `{\"type\":\"unsubscribe\"}`; anything else ends the connection. It is closed with 1001 at a drain, 1008 for a key that is no longer valid or a message that means nothing, 1013 when the store does not answer, 4410 for a cursor that is of no use any more.",
            )],
            || get(api::socket::open),
        )
    },
    Route {
        verb: Verb::Post,
        path: "/v1/tickets",
        access: VIEWER,
        operation: "ticket",
        summary: "A ticket to open one stream with, for 30 s: for browsers, which cannot send a key with an event stream or a WebSocket.",
        parameters: &[],
        body: Some(Body::Any("Nothing is expected of it.")),
        answers: &[json(201, "Ticket", "Given.")],
        audit: Trail::Nothing,
        problems: &[Kind::TooManyTickets],
        handler: || post(api::ticket::give),
    },
    command(
        "/v1/sagas/{id}/retry",
        "retry",
        Trail::Entry("saga.retry"),
        "Tries what failed again now, with a fresh budget of attempts.",
        gives!(Retry),
    ),
    command(
        "/v1/sagas/{id}/skip",
        "skip",
        Trail::Entry("saga.skip"),
        "Takes a step, or the compensation of a step, as settled without calling it.",
        gives!(Skip),
    ),
    command(
        "/v1/sagas/{id}/compensate",
        "compensate",
        Trail::Entry("saga.compensate"),
        "Forces backward recovery before the pivot.",
        gives!(Compensate),
    ),
    command(
        "/v1/sagas/{id}/cancel",
        "cancel",
        Trail::Entry("saga.cancel"),
        "Asks for backward recovery; refused once the pivot was handed out.",
        gives!(Cancel),
    ),
    command(
        "/v1/sagas/{id}/pause",
        "pause",
        Trail::Entry("saga.pause"),
        "Hands out no further call.",
        gives!(Pause),
    ),
    command(
        "/v1/sagas/{id}/resume",
        "resume",
        Trail::Entry("saga.resume"),
        "Goes on after a pause.",
        gives!(Resume),
    ),
    command(
        "/v1/sagas/{id}/stop",
        "stop",
        Trail::Entry("saga.stop"),
        "Gives up: the verdict lists the effects that remain.",
        gives!(Stop),
    ),
    Route {
        verb: Verb::Post,
        path: "/v1/bulk/{id}",
        access: Access::From(Role::Operator),
        operation: "bulk",
        summary: "Gives a command to every saga that a filter matches, at a pace, by whichever daemon is there; or tells what would get it.",
        parameters: &[
            path("id", "The command: retry, skip, compensate, cancel, pause, resume or stop."),
            header("Idempotency-Key", "The same key is the same bulk. 1 to 255 bytes."),
        ],
        body: Some(Body::Schema("BulkCommand")),
        answers: &[
            json(202, "Bulk", "Begun."),
            json(200, "Bulk", "A dry run; or a bulk that had begun before under this key."),
        ],
        audit: Trail::Bulk,
        problems: &[Kind::KeyConflict, Kind::TooManyBulks, Kind::StoreUnavailable],
        handler: || post(api::bulk::start),
    },
    Route {
        problems: STORE,
        ..read(
            VIEWER,
            "/v1/bulk",
            "bulks",
            "Commands in bulk, the newest first; a hundred are kept.",
            &[json(200, "BulkList", "Them.")],
            || get(api::bulk::list),
        )
    },
    Route {
        parameters: &[path("id", "The bulk's id.")],
        problems: &[Kind::BulkUnknown, Kind::StoreUnavailable],
        ..read(
            VIEWER,
            "/v1/bulk/{id}",
            "get_bulk",
            "A command in bulk and how far it has come.",
            &[json(200, "Bulk", "As it stands.")],
            || get(api::bulk::get),
        )
    },
    Route {
        verb: Verb::Post,
        path: "/v1/bulk/{id}/cancel",
        access: Access::From(Role::Operator),
        operation: "cancel_bulk",
        summary: "Gives no further command. What was given stands.",
        parameters: &[path("id", "The bulk's id.")],
        body: Some(Body::Any("Nothing is expected of it.")),
        answers: &[json(200, "Bulk", "As it stands.")],
        audit: Trail::Entry("bulk.end"),
        problems: &[Kind::BulkUnknown, Kind::StoreUnavailable],
        handler: || post(api::bulk::cancel),
    },
    Route {
        problems: STORE,
        ..read(
            VIEWER,
            "/v1/webhooks",
            "webhooks",
            "The webhooks of this daemon and how they stand.",
            &[json(200, "WebhookList", "By name.")],
            || get(api::webhooks::list),
        )
    },
    webhook_command(
        "/v1/webhooks/{name}/enable",
        "enable_webhook",
        Trail::Entry("webhook.enable"),
        "Switches a webhook on again; it goes on where it stood, and tries at once what waits.",
        webhook!(Enable),
    ),
    webhook_command(
        "/v1/webhooks/{name}/disable",
        "disable_webhook",
        Trail::Entry("webhook.disable"),
        "Switches a webhook off. It keeps its place.",
        webhook!(Disable),
    ),
    webhook_command(
        "/v1/webhooks/{name}/replay",
        "replay_webhook",
        Trail::Entry("webhook.replay"),
        "Delivers once more: of one saga, or everything after a place in the feed.",
        webhook!(Replay),
    ),
    Route {
        problems: STORE,
        ..read(
            VIEWER,
            "/v1/definitions",
            "definitions",
            "The definitions that living workers know.",
            &[json(200, "DefinitionList", "By name and version.")],
            || get(api::engine::definitions),
        )
    },
    Route {
        problems: STORE,
        ..read(
            VIEWER,
            "/v1/workers",
            "workers",
            "The workers on the same store and the definitions they know.",
            &[json(200, "WorkerList", "All workers on record.")],
            || get(api::engine::workers),
        )
    },
    read(
        VIEWER,
        "/v1/breakers",
        "breakers",
        "The breakers of this daemon's worker.",
        &[json(200, "BreakerList", "One per participant and direction.")],
        || get(api::engine::breakers),
    ),
    Route {
        parameters: &[
            query("actor", "Only of the API key of this id."),
            query("action", "Only this action, such as saga.stop."),
            query("target", "Only to this saga, bulk, webhook or definition."),
            query("since", "Only at this time or later, in microseconds since 1970."),
            query("until", "Only before this time, in microseconds since 1970."),
            query("before", "The page after the one whose `next` this is."),
            LIMIT,
        ],
        problems: STORE,
        ..read(
            Access::From(Role::Operator),
            "/v1/audit",
            "audit",
            "Who changed what through the API, or was refused for their role, newest first. What is written before it is done: commands, bulks, webhooks. Starts are in the logs of their sagas.",
            &[json(200, "AuditList", "A page.")],
            || get(api::audit::list),
        )
    },
    read(
        Access::Public,
        "/healthz",
        "healthz",
        "Whether the process is alive.",
        &[json(200, "Health", "It is.")],
        || get(api::engine::healthz),
    ),
    Route {
        problems: &[Kind::NotReady],
        ..read(
            Access::Public,
            "/readyz",
            "readyz",
            "Whether requests should come here: the store answers, and no drain has begun.",
            &[json(200, "Health", "They should.")],
            || get(api::engine::readyz),
        )
    },
    Route {
        problems: STORE,
        ..read(
            VIEWER,
            "/metrics",
            "metrics",
            "Metrics as Prometheus reads them.",
            &[text("text/plain", "Counters, gauges and histograms.")],
            || get(api::engine::metrics),
        )
    },
    read(
        Access::Public,
        "/openapi.json",
        "openapi",
        "This API as an OpenAPI 3.1 document.",
        &[Answer { status: 200, about: "The document.", content: Content::Json }],
        || get(api::docs::openapi),
    ),
    read(
        Access::Public,
        "/docs",
        "docs",
        "This API for people.",
        &[text("text/html", "A page that needs no network.")],
        || get(api::docs::docs),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_that_changes_something_leaves_a_trace_of_its_own() {
        let mut actions = Vec::new();
        for route in ROUTES {
            let expected = match (route.verb, route.operation) {
                // A ticket opens a stream for half a minute, to whoever may open it anyway.
                (Verb::Get, _) | (Verb::Post, "ticket") => route.audit == Trail::Nothing,
                (Verb::Post, "start") => route.audit == Trail::SagaLog("saga.start"),
                (Verb::Post, _) => route.audit.action().is_some(),
            };
            assert!(expected, "{} leaves {:?}", route.operation, route.audit);
            actions.extend(route.audit.action());
        }
        let count = actions.len();
        actions.sort_unstable();
        actions.dedup();
        assert_eq!((actions.len(), count), (count, 12));
    }
}
