//! The events of a saga as they become durable.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, future, stream};
use saga_worker::ClientError;

use crate::body::TransitionBody;
use crate::feed::{Pulse, origin};
use crate::problem::Problem;
use crate::request::Call;
use crate::service::App;

/// What a stream reads ahead of its reader is one page of the log; the rest waits in the store.
pub(crate) async fn events(State(app): State<App>, call: Call) -> Result<Response, Problem> {
    origin::check(&app, &call)?;
    let id = call.saga()?;
    let after = position(&call)?;
    let row = app.client().store().row(id).await?.ok_or(ClientError::NotFound { id })?;
    if after > row.seq {
        let expected = format!("a position in the log of this saga, which has {}", row.seq);
        return Err(Problem::field("Last-Event-ID", &after.to_string(), &expected));
    }
    if after == row.seq && !row.summary.status.is_alive() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = app.places().take(&call.principal, app.limits())?;
    let revoked = Pulse::new(&app, app.hold(&call.principal)).revoked(app.clone());
    let spec = app.spec(&row.definition).await?;
    let events = app.client().events(id, after).map(move |transition| {
        let event = match transition {
            Ok(transition) => {
                let body = TransitionBody::new(&transition, spec.as_deref());
                Event::default().id(body.seq.to_string()).event("transition").json_data(body)
            }
            Err(error) => Event::default().event("problem").json_data(Problem::from(error).body()),
        };
        // The place is taken until the stream ends.
        let _ = &place;
        Ok::<_, Infallible>(event.expect("bodies hold only text, numbers and JSON"))
    });
    let opening = Event::default().retry(std::time::Duration::from_secs(1)).comment("saga events");
    let closing = app.closing().clone().cancelled_owned();
    let over = Box::pin(future::select(Box::pin(closing), Box::pin(revoked)));
    let all = stream::once(async { Ok(opening) }).chain(events).take_until(over);
    let heartbeat = KeepAlive::new().interval(app.limits().heartbeat).text("heartbeat");
    Ok(Sse::new(all).keep_alive(heartbeat).into_response())
}

fn position(call: &Call) -> Result<u64, Problem> {
    let expected = "a position in the log, from 0";
    match call.header("Last-Event-ID")?.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|_| Problem::field("Last-Event-ID", text, expected)),
        None => Ok(call.parsed("after", expected)?.unwrap_or(0)),
    }
}
