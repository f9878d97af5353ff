//! Webhooks: how they stand, and what an operator does about them.

use axum::Json;
use axum::extract::State;
use saga_core::store::FeedEdge;
use saga_core::{Event, SagaId};
use saga_worker::ClientError;

use crate::body::{WebhookBody, WebhookCommandBody, WebhooksBody};
use crate::feed::From as Place;
use crate::problem::{Kind, Problem};
use crate::request::{Call, expect_readable};
use crate::service::App;
use crate::webhooks::{self, Change, Webhook};

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Log rows read at once.
const PAGE: u32 = 256;

/// Which command a route gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Enable,
    Disable,
    Replay,
}

pub(crate) async fn list(State(app): State<App>, _: Call) -> Result<Json<WebhooksBody>, Problem> {
    let (hooks, states) = (hooks(&app), webhooks::list(&**app.client().store()).await?);
    let body = |hook: &Webhook| {
        let state = states.iter().find(|(name, _)| *name == hook.name);
        WebhookBody::new(hook, state.map(|(_, state)| state))
    };
    Ok(Json(WebhooksBody { webhooks: hooks.iter().map(body).collect() }))
}

pub(crate) async fn command(
    State(app): State<App>,
    call: Call,
    verb: Verb,
) -> Result<Json<WebhookBody>, Problem> {
    let body: WebhookCommandBody = serde_json::from_str(&call.body).map_err(|error| {
        let expected = "expected JSON like {\"reason\": \"the shop is back\"}";
        Problem::new(Kind::Malformed, format!("the body is no command: {error}; {expected}"))
    })?;
    if !(1..=REASON_BYTES_MAX).contains(&body.reason.len()) {
        return Err(Problem::field("reason", &body.reason, "1 to 1024 bytes"));
    }
    expect_readable("reason", &body.reason)?;
    let name = call.part("name");
    let unknown =
        || Problem::new(Kind::WebhookUnknown, format!("there is no webhook {name:?} here"));
    let hook = hooks(&app).into_iter().find(|hook| hook.name == name).ok_or_else(unknown)?;
    let change = change(&app, verb, &body).await?;
    if let Change::Again { transitions } = &change {
        has_room(&app, name, transitions.len()).await?;
    }
    let changed = webhooks::change(&**app.client().store(), name, &change).await?;
    let state = changed.ok_or_else(|| {
        Problem::new(
            Kind::WebhookUnknown,
            format!("the webhook {name:?} has not begun yet: repeat it"),
        )
    })?;
    let by = call.principal.key.as_deref().unwrap_or("anonymous");
    tracing::info!(
        webhook = name,
        ?verb,
        by,
        reason = body.reason,
        "webhook changed by an operator"
    );
    Ok(Json(WebhookBody::new(&hook, Some(&state))))
}

/// Deliveries are made once more as soon as there is room for them: a webhook that is off or fails
/// takes no more than it may have of others.
async fn has_room(app: &App, name: &str, more: usize) -> Result<(), Problem> {
    let state = webhooks::load(&**app.client().store(), name).await?;
    let waiting = state.map_or(0, |state| state.retries.len());
    if waiting.saturating_add(more) <= webhooks::State::RETRIES_MAX {
        return Ok(());
    }
    let detail = format!(
        "{waiting} deliveries of the webhook {name:?} wait already: mend its endpoint and enable it, then repeat this"
    );
    Err(Problem::new(Kind::TooManyDeliveries, detail))
}

async fn change(app: &App, verb: Verb, body: &WebhookCommandBody) -> Result<Change, Problem> {
    let neither = "nothing: only replay has this field";
    Ok(match (verb, body.saga_id, body.after.as_deref()) {
        (Verb::Enable, None, None) => Change::Enable,
        (Verb::Disable, None, None) => Change::Disable { why: body.reason.clone() },
        (Verb::Enable | Verb::Disable, Some(_), _) => {
            return Err(Problem::field("saga_id", "(given)", neither));
        }
        (Verb::Enable | Verb::Disable, None, Some(_)) => {
            return Err(Problem::field("after", "(given)", neither));
        }
        (Verb::Replay, Some(id), None) => Change::Again { transitions: occasions(app, id).await? },
        (Verb::Replay, None, Some(after)) => Change::GoTo { cursor: cursor(app, after).await? },
        (Verb::Replay, _, _) => {
            return Err(Problem::field(
                "saga_id",
                "(missing)",
                "either saga_id or after, to replay",
            ));
        }
    })
}

/// The transitions of a saga that a webhook is told of.
async fn occasions(app: &App, id: SagaId) -> Result<Vec<(SagaId, u64)>, Problem> {
    let store = app.client().store();
    store.row(id).await?.ok_or(ClientError::NotFound { id })?;
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let rows = store.log(id, after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        let of = |event: &Event| matches!(event, Event::SagaStuck { .. } | Event::SagaEnded { .. });
        let is =
            |row: &&saga_core::LogRow| row.decode().is_ok_and(|read| read.events.iter().any(of));
        found.extend(rows.iter().filter(is).map(|row| (id, row.seq)));
    }
    Ok(found)
}

async fn cursor(app: &App, after: &str) -> Result<String, Problem> {
    let store = app.client().store();
    let cursor = match Place::parse("after", after)? {
        Place::Now => store.feed_edge(FeedEdge::Newest).await,
        Place::Beginning => store.feed_edge(FeedEdge::Oldest).await,
        // Read once, so that one that is of no use is refused now.
        Place::After(cursor) => store.feed(cursor, 1).await.map(|_| cursor),
    };
    Ok(cursor.map_err(crate::feed::problem)?.to_string())
}

fn hooks(app: &App) -> Vec<Webhook> {
    app.webhooks().borrow().iter().cloned().collect()
}
