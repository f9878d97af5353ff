//! Starting sagas.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use saga_core::Payload;
use tokio::time::timeout;

use super::{saga_response, view};
use crate::problem::{Kind, Problem};
use crate::request::Call;
use crate::service::App;

pub(crate) async fn start(State(app): State<App>, call: Call) -> Result<Response, Problem> {
    let wait = call.wait()?;
    let input = match call.body.as_str() {
        "" => Payload::null(),
        json => Payload::from_json(json)
            .map_err(|error| Problem::new(Kind::Malformed, error.to_string()))?,
    };
    let mut start = app.client().start(call.part("id"), &input);
    if let Some(key) = call.header("Idempotency-Key")? {
        start = start.key(key);
    }
    if let Some(text) = call.header("X-Saga-ID")? {
        let expected = "a UUID like 0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f000";
        let id = text.parse().map_err(|_| Problem::field("X-Saga-ID", text, expected))?;
        start = start.id(id);
    }
    if let Some(text) = call.header("X-Saga-Version")? {
        let version = text.parse().ok().filter(|version| *version > 0);
        let expected = "a version of the definition, from 1 on";
        start =
            start.version(version.ok_or_else(|| Problem::field("X-Saga-Version", text, expected))?);
    }
    if let Some(traceparent) = call.header("traceparent")? {
        start = start.traceparent(traceparent);
    }
    // The trace of a start in place of an entry of the audit trail.
    if let Some(key) = &call.principal.key {
        start = start.by(format!("key {key}"));
    }
    let started = start.await?;
    let mut ended = None;
    if let Some(wait) = wait {
        tokio::select! {
            biased;
            () = app.closing().cancelled() => {}
            // An error shows itself when the view is read.
            end = timeout(wait, started.ended()) => ended = end.ok().and_then(Result::ok),
        }
    }
    let view = match ended {
        Some(view) => view,
        None => view(&app, started.id).await?,
    };
    let status = match (started.created, wait.is_some() && view.status.is_alive()) {
        (_, true) => StatusCode::ACCEPTED,
        (true, false) => StatusCode::CREATED,
        (false, false) => StatusCode::OK,
    };
    let location = HeaderValue::from_str(&format!("/v1/sagas/{}", started.id));
    let location = location.expect("an id is visible ASCII");
    let mut response = saga_response(status, view);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}
