//! Looking at the audit trail.

use axum::Json;
use axum::extract::State;
use saga_core::Timestamp;
use saga_core::store::AuditQuery;

use super::show::page;
use crate::body::{AuditEntryBody, AuditListBody};
use crate::problem::Problem;
use crate::request::Call;
use crate::service::App;

pub(crate) async fn list(
    State(app): State<App>,
    call: Call,
) -> Result<Json<AuditListBody>, Problem> {
    let text = |name: &str| call.parameter(name).map(str::to_owned);
    let time = |name: &str| -> Result<Option<Timestamp>, Problem> {
        let micros = call.parsed(name, "a time in microseconds since 1970")?;
        Ok(micros.map(|micros: i64| Timestamp::from_micros(micros)))
    };
    let limit = page(&call)?;
    let query = AuditQuery {
        actor: text("actor"),
        action: text("action"),
        target: text("target"),
        since: time("since")?,
        until: time("until")?,
        before: call.parsed("before", "the id of an entry: the `next` of the page before")?,
        limit,
    };
    let entries = app.client().store().audit(&query).await?;
    let is_full = entries.len() == limit as usize;
    let next = entries.last().map(|entry| entry.id).filter(|_| is_full);
    let entries = entries.into_iter().map(AuditEntryBody::from).collect();
    Ok(Json(AuditListBody { entries, next }))
}
