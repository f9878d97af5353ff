//! Looking at sagas.

use std::pin::pin;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use saga_core::store::Query;
use saga_core::{IdempotencyKey, SagaId, Status, Timestamp};
use saga_worker::{ClientError, Found, Search};
use tokio::time::timeout;

use super::{entity_tag, saga_response, view};
use crate::body::{ListBody, LogBody, SummaryBody, TransitionBody};
use crate::problem::Problem;
use crate::request::{Call, Tags};
use crate::service::App;

/// What `version` has to be.
const VERSION: &str = "a version of a definition, from 1 on";

pub(crate) async fn get(State(app): State<App>, call: Call) -> Result<Response, Problem> {
    let id = call.saga()?;
    let known = call.tags("If-None-Match")?;
    if let Some(wait) = call.wait()? {
        let news = async {
            match &known {
                Some(tags) => changed(&app, id, tags).await,
                None => drop(app.client().verdict(id).await),
            }
        };
        tokio::select! {
            biased;
            () = app.closing().cancelled() => {}
            _ = timeout(wait, news) => {}
        }
    }
    let view = view(&app, id).await?;
    if known.is_some_and(|tags| tags.match_seq(view.seq)) {
        let headers = [
            (header::ETAG, entity_tag(view.seq)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok(saga_response(StatusCode::OK, view))
}

/// Waits until the saga stands where none of the tags says; an error shows itself afterwards.
async fn changed(app: &App, id: SagaId, tags: &Tags) {
    let Ok(Some(row)) = app.client().store().row(id).await else { return };
    if tags.match_seq(row.seq) {
        let mut events = pin!(app.client().events(id, row.seq));
        drop(events.next().await);
    }
}

pub(crate) async fn list(State(app): State<App>, call: Call) -> Result<Json<ListBody>, Problem> {
    let search = search(&call)?;
    let Found { rows, next } = app.client().search(&search).await?;
    let counts = app.client().counts().await?;
    let counts = counts.into_iter().map(|(status, n)| (status.as_str().to_owned(), n)).collect();
    let sagas = rows.into_iter().map(SummaryBody::from).collect();
    Ok(Json(ListBody { sagas, counts, next }))
}

/// What the parameters of a list ask for.
pub(crate) fn search(call: &Call) -> Result<Search, Problem> {
    let key = |name: &str| {
        let checked = call.parameter(name).map(|text| {
            let expected = "1 to 255 bytes without control characters";
            IdempotencyKey::new(text).map_err(|_| Problem::field(name, text, expected))
        });
        checked.transpose()
    };
    let time = |name: &str| -> Result<Option<Timestamp>, Problem> {
        let micros = call.parsed(name, "a time in microseconds since 1970")?;
        Ok(micros.map(|micros: i64| Timestamp::from_micros(micros)))
    };
    let text = |name: &str| {
        let text = call.parameter(name).map(str::to_owned);
        match text.as_ref().is_some_and(String::is_empty) {
            true => Err(Problem::field(name, "", "at least one character")),
            false => Ok(text),
        }
    };
    Ok(Search {
        query: Query {
            statuses: statuses(call)?,
            name: call.parameter("name").map(str::to_owned),
            key: key("key")?,
            before: call.parsed("before", "the id of a saga: the `next` of the page before")?,
            limit: page(call)?,
        },
        version: match call.parsed("version", VERSION)? {
            Some(0) => return Err(Problem::field("version", "0", VERSION)),
            version => version,
        },
        step: text("step")?,
        key_prefix: key("key_prefix")?.map(|key| key.as_str().to_owned()),
        text: text("text")?,
        started_after: time("started_after")?,
        started_before: time("started_before")?,
    })
}

pub(crate) async fn log(State(app): State<App>, call: Call) -> Result<Json<LogBody>, Problem> {
    let id = call.saga()?;
    let limit = page(&call)?;
    let after = call.parsed("after", "a position in the log, from 0")?.unwrap_or(0);
    let row = app.client().store().row(id).await?.ok_or(ClientError::NotFound { id })?;
    let spec = app.spec(&row.definition).await?;
    let entries = app.client().log(id, after, limit).await?;
    let next = entries.last().map(|entry| entry.transition.seq);
    let next = next.filter(|_| entries.len() == limit as usize);
    let transitions =
        entries.iter().map(|entry| TransitionBody::new(&entry.transition, spec.as_deref()));
    Ok(Json(LogBody { transitions: transitions.collect(), next }))
}

pub(super) fn page(call: &Call) -> Result<u32, Problem> {
    let expected = "a number from 1 to 500";
    let limit = call.parsed("limit", expected)?.unwrap_or(100);
    if !(1..=Query::LIMIT_MAX).contains(&limit) {
        return Err(Problem::field("limit", &limit.to_string(), expected));
    }
    Ok(limit)
}

fn statuses(call: &Call) -> Result<Vec<Status>, Problem> {
    let Some(text) = call.parameter("status") else { return Ok(Vec::new()) };
    let status = |word: &str| {
        let found = Status::ALL.into_iter().find(|status| status.as_str() == word);
        found.ok_or_else(|| {
            let known = Status::ALL.map(Status::as_str).join(", ");
            Problem::field(
                "status",
                word,
                &format!("one or several of {known}, separated by commas"),
            )
        })
    };
    text.split(',').map(status).collect()
}
