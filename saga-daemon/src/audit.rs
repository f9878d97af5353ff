//! The audit trail of the API: who changed what, written before it is carried out.
//!
//! Every route says in the table what it leaves, and what it says is done here, around its handler:
//! no handler can forget it. An entry is durable before the deed, so nothing is done without a trace;
//! when it cannot be written, nothing is done. What became of it is added afterwards, also for a
//! client that has gone away. An entry without an outcome is of a deed under way, or of a daemon that
//! did not live to tell.
//!
//! Starts are the exception. There are thousands in a second, and what a start does first is to write
//! a durable row of its own: the first of the saga's log, which names the key and is its trace. Only one that is refused
//! for its role leaves an entry here.

mod asked;
mod refusals;
mod retention;

use std::panic::AssertUnwindSafe;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use saga_core::store::{AuditEntry, AuditOutcome, StoreError};
use saga_core::{AuditId, Clock as _};
use saga_worker::SystemClock;
use uuid::Uuid;

use crate::access::Principal;
use crate::problem::{Kind, Problem};
use crate::request::read_bytes;
use crate::routes::{Place, Route, bounded, broken};
use crate::server::Peer;
use crate::service::App;
use asked::Asked;

pub(crate) use refusals::Refusals;
pub(crate) use retention::{RETENTION, shorten};

/// What a route leaves in the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trail {
    /// Nothing: it changes nothing that outlives the request and its ticket.
    Nothing,
    /// The first row of a saga's log; an entry of this action only if the role does not allow it.
    SagaLog(&'static str),
    /// An entry of this action.
    Entry(&'static str),
    /// An entry of `bulk.` and the command that the path names.
    Bulk,
}

impl Trail {
    /// The action of its entries as the document says it; `None` where nothing is written before.
    pub(crate) const fn action(self) -> Option<&'static str> {
        match self {
            Self::Nothing | Self::SagaLog(_) => None,
            Self::Entry(action) => Some(action),
            Self::Bulk => Some("bulk.{id}"),
        }
    }
}

/// Carries out a request that changes something, between the two halves of its entry.
pub(crate) async fn carry_out(
    app: &App,
    route: &'static Route,
    request: Request,
    next: Next,
) -> Response {
    let (entry, request) = match intend(app, route, request).await {
        Ok(intended) => intended,
        Err(problem) => return problem.into_response(),
    };
    if let Err(error) = app.client().store().record_audit(&entry).await {
        return unrecorded(&entry, &error).into_response();
    }
    // In a task of its own: a client that goes away leaves an outcome all the same.
    let task = app.tasks().spawn({
        let app = app.clone();
        async move {
            let done = AssertUnwindSafe(bounded(&app, next.run(request))).catch_unwind().await;
            let response = done.unwrap_or_else(|_| broken().into_response());
            settle(&app, entry.id, outcome(&response)).await;
            response
        }
    });
    task.await.unwrap_or_else(|_| broken().into_response())
}

/// Records that a request was refused for the role of its key, which has changed nothing; so it
/// is refused in any case, recorded or not.
pub(crate) async fn refuse(app: &App, route: &'static Route, request: Request, problem: &Problem) {
    let (mut parts, _) = request.into_parts();
    let Some(principal) = parts.extensions.get::<Principal>().cloned() else { return };
    if route.audit == Trail::Nothing || !app.refusals().has_room(principal.key.as_deref()) {
        return;
    }
    let subject = subject(app, route, &mut parts).await;
    let mut entry = entry(&principal, &parts, subject);
    entry.outcome = Some(AuditOutcome {
        at: SystemClock.now(),
        status: problem.kind().status().as_u16(),
        problem: Some(problem.kind().slug().to_owned()),
    });
    if let Err(error) = app.client().store().record_audit(&entry).await {
        let AuditEntry { actor, action, .. } = &entry;
        tracing::error!(%error, actor, action, "a refusal is not in the audit trail");
    }
}

/// The entry of a request that is about to be carried out, and the request as it was.
async fn intend(
    app: &App,
    route: &'static Route,
    request: Request,
) -> Result<(AuditEntry, Request), Problem> {
    let (mut parts, body) = request.into_parts();
    let principal =
        parts.extensions.get::<Principal>().cloned().ok_or_else(|| {
            Problem::new(Kind::Internal, "nobody has checked who makes this request")
        })?;
    let bytes = read_bytes(&parts.headers, body, app.limits()).await?;
    let Asked { reason, detail } = Asked::read(&bytes)?;
    let request_id = asked::request_id(route, &mut parts.headers);
    let mut subject = subject(app, route, &mut parts).await;
    if route.audit == Trail::Bulk {
        // The path names the command; the bulk will have the id that follows from its key.
        subject.target = request_id.as_deref().map(crate::api::bulk::id_of);
    }
    let entry = AuditEntry { reason, detail, request_id, ..entry(&principal, &parts, subject) };
    Ok((entry, Request::from_parts(parts, Body::from(bytes))))
}

/// What is done, and to what.
struct Subject {
    action: String,
    target: Option<String>,
}

async fn subject(app: &App, route: &Route, parts: &mut Parts) -> Subject {
    let named = route.parameters.iter().find(|parameter| parameter.place == Place::Path);
    let values = RawPathParams::from_request_parts(parts, app).await.ok();
    let value = named.zip(values.as_ref()).and_then(|(named, values)| {
        values.iter().find(|(name, _)| *name == named.name).map(|(_, value)| value)
    });
    let target = value.map(|value| asked::plain(value, AuditEntry::WORD_LEN_MAX));
    let action = match route.audit {
        Trail::Nothing => String::new(),
        Trail::SagaLog(action) | Trail::Entry(action) => action.to_owned(),
        Trail::Bulk => format!("bulk.{}", value.and_then(asked::word).unwrap_or("unknown")),
    };
    Subject { action, target }
}

/// An entry made now.
fn entry(principal: &Principal, parts: &Parts, subject: Subject) -> AuditEntry {
    AuditEntry {
        // In the order of one process also those of one millisecond.
        id: AuditId::from_bytes(Uuid::now_v7().into_bytes()),
        actor: principal.key.clone().unwrap_or_else(|| "anonymous".to_owned()),
        role: principal.role.as_str().to_owned(),
        remote: parts.extensions.get::<Peer>().map(|peer| peer.0.to_string()),
        action: subject.action,
        target: subject.target,
        reason: None,
        request_id: None,
        detail: None,
        outcome: None,
    }
}

fn unrecorded(entry: &AuditEntry, error: &StoreError) -> Problem {
    let AuditEntry { actor, action, .. } = entry;
    tracing::error!(%error, actor, action, "not carried out: the audit trail cannot be written");
    let detail =
        "the request cannot be recorded in the audit trail, so nothing was done: repeat it";
    Problem::new(Kind::StoreUnavailable, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn outcome(response: &Response) -> AuditOutcome {
    let problem = response.extensions().get::<Kind>().map(|kind| kind.slug().to_owned());
    AuditOutcome { at: SystemClock.now(), status: response.status().as_u16(), problem }
}

async fn settle(app: &App, id: AuditId, outcome: AuditOutcome) {
    if let Err(error) = app.client().store().settle_audit(id, &outcome).await {
        let status = outcome.status;
        tracing::error!(%error, entry = %id, status, "an outcome is not in the audit trail");
    }
}
