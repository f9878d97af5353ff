//! The handlers, one file per concern.

pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod command;
pub(crate) mod docs;
pub(crate) mod engine;
pub(crate) mod events;
pub(crate) mod feed;
pub(crate) mod show;
pub(crate) mod socket;
pub(crate) mod start;
pub(crate) mod ticket;
pub(crate) mod webhooks;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use saga_core::{SagaId, SagaView};
use saga_worker::ClientError;

use crate::body::SagaBody;
use crate::problem::Problem;
use crate::service::App;

async fn view(app: &App, id: SagaId) -> Result<SagaView, Problem> {
    let view = app.client().view(id).await?;
    Ok(view.ok_or(ClientError::NotFound { id })?)
}

/// A saga with its entity tag.
fn saga_response(status: StatusCode, view: SagaView) -> Response {
    let tag = entity_tag(view.seq);
    let headers =
        [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    (status, headers, Json(SagaBody::from(view))).into_response()
}

pub(crate) fn entity_tag(seq: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{seq}\"")).expect("quotes and digits are visible ASCII")
}
