//! Tickets for clients that cannot send headers.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::body::TicketBody;
use crate::feed::VALID;
use crate::problem::Problem;
use crate::request::Call;
use crate::service::App;

pub(crate) async fn give(
    State(app): State<App>,
    call: Call,
) -> Result<(StatusCode, Json<TicketBody>), Problem> {
    let ticket = app.tickets().give(app.hold(&call.principal), Instant::now())?;
    let valid_ms = u64::try_from(VALID.as_millis()).unwrap_or(u64::MAX);
    Ok((StatusCode::CREATED, Json(TicketBody { ticket, valid_ms })))
}
