//! The order service: `POST /orders` starts a saga, `GET /orders/{id}` tells where it is, and
//! `POST /orders/{id}/commands` asks something of it.
//!
//! It runs no saga itself: workers do, in other processes, on the same store. Its own participant
//! endpoint, `POST /confirm`, is the last step of every order.

mod beside;
mod commands;
mod shop;

use std::collections::BTreeMap;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use saga_core::{SagaId, SagaView, Status, Timestamp};
use saga_participant::{Answer, BarrierError, Problem, Refusal, SagaCall, headers, problem};
use saga_worker::{Client, ClientError, StartError};
use serde::{Deserialize, Serialize};

use crate::books::{self, Title};
use crate::database::Database;
use crate::guard::Guarded;
use crate::order::Order;
use crate::participant::{self, Participant};
use crate::service::ServiceError;
use crate::sql::{Schema, Sql};
use crate::switches::Switches;

pub use beside::{Beside, BesideError};
pub use shop::Shop;

/// Largest order, in bytes of JSON.
const ORDER_BYTES_MAX: usize = 64 * 1024;
/// Most log entries of one page.
const LOG_PAGE: u32 = 1_000;

/// Type of the answer to an order that is none: status 400.
const MALFORMED_ORDER: &str = "https://github.com/saga-engine/saga/problems/malformed-order";
/// Type of the answer to a key that was used for another order: status 409.
const KEY_CONFLICT: &str = "https://github.com/saga-engine/saga/problems/key-conflict";
/// Type of the answer to an id nobody knows: status 404.
const NOT_FOUND: &str = "https://github.com/saga-engine/saga/problems/not-found";

/// The order service as a participant: its endpoint `POST /confirm`.
#[derive(Debug)]
pub struct Orders;

impl Participant for Orders {
    const TITLE: Title = Title { service: "orders", unit: "orders" };
    const SCHEMA: Schema = Schema {
        sqlite: include_str!("sqlite/orders.sql"),
        postgres: include_str!("postgres/orders.sql"),
    };

    fn calls<DB: Guarded>() -> Router<DB::Barrier> {
        Router::new().route("/confirm", post(confirm::<DB>))
    }
}

/// The whole service over its own database and the store of sagas; without the latter only its
/// participant.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router(database: Database, shop: Option<Shop>) -> Result<Router, ServiceError> {
    let participant = participant::router::<Orders>(database, Switches::default()).await?;
    let Some(shop) = shop else { return Ok(participant) };
    let orders = Router::new()
        .route("/orders", post(place).get(counts))
        .route("/orders/{id}", get(show))
        .route("/orders/{id}/log", get(log))
        .route("/orders/{id}/commands", post(commands::give))
        .layer(DefaultBodyLimit::max(ORDER_BYTES_MAX))
        .with_state(shop);
    Ok(participant.merge(orders))
}

/// The body of an answer about one order.
#[derive(Debug, Serialize)]
struct OrderBody {
    order_id: SagaId,
    /// None when the saga ended so long ago that it was deleted, and only its order is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    view: Option<SagaView>,
}

/// How an order is placed.
#[derive(Debug, Deserialize)]
struct PlaceQuery {
    /// A row of the order is written in the transaction in which its saga starts.
    #[serde(default)]
    together: bool,
}

async fn place(
    State(shop): State<Shop>,
    Query(PlaceQuery { together }): Query<PlaceQuery>,
    request: HeaderMap,
    body: Result<axum::body::Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|error| malformed(error.status(), error.body_text()))?;
    let order = read_order(&body)?;
    let key = key(&request, &order)?;
    let mut start = shop.start(&order).await?.key(&key);
    if let Some(traceparent) = text_header(&request, headers::TRACEPARENT)? {
        start = start.traceparent(traceparent);
    }
    let (id, created) = if together {
        shop.place_together(start, &key, &order).await?
    } else {
        let started = start.await.map_err(|error| not_started(&error))?;
        (started.id, started.created)
    };
    tracing::info!(saga_id = %id, order = order.order, new = created, "order taken");
    let (code, status) = match created {
        true => (StatusCode::ACCEPTED, Some(Status::Running)),
        false => (StatusCode::OK, status(shop.sagas(), id).await?),
    };
    let location = [(header::LOCATION, format!("/orders/{id}"))];
    let body = OrderBody { order_id: id, status, view: None };
    Ok((code, location, Json(body)).into_response())
}

/// The order in a body, checked as far as this service can: the participants know the rest.
fn read_order(body: &[u8]) -> Result<Order, Problem> {
    let bad = |detail: String| malformed(StatusCode::BAD_REQUEST, detail);
    let order: Order = serde_json::from_slice(body).map_err(|error| {
        bad(format!(
            "the body is no order: {error}; expected JSON like {{\"order\":\"order-17\",\"customer\":\
             \"customer-003\",\"sku\":\"SKU-004\",\"quantity\":2,\"coupon\":null,\"points\":150,\
             \"amount_cents\":4999,\"card\":\"card-17\"}}"
        ))
    })?;
    let texts = [
        ("order", Some(&order.order)),
        ("customer", Some(&order.customer)),
        ("sku", Some(&order.sku)),
        ("coupon", order.coupon.as_ref()),
        ("card", Some(&order.card)),
    ];
    for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text?))) {
        if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
            return Err(bad(format!(
                "`{field}` is {} bytes long or holds control characters; expected 1 to 64 bytes of text",
                text.len()
            )));
        }
    }
    if order.quantity == 0 {
        return Err(bad("`quantity` is 0; expected at least 1".to_owned()));
    }
    Ok(order)
}

/// The key of the request, or else the shop's own number of the order: it is placed once.
fn key(request: &HeaderMap, order: &Order) -> Result<String, Problem> {
    let key = text_header(request, headers::IDEMPOTENCY_KEY)?;
    Ok(key.unwrap_or_else(|| order.order.clone()))
}

fn text_header(request: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = request.get(name) else { return Ok(None) };
    let text = value.to_str().map_err(|_| {
        malformed(StatusCode::BAD_REQUEST, format!("header `{name}` is not plain ASCII text"))
    })?;
    Ok(Some(text.to_owned()))
}

async fn show(
    State(shop): State<Shop>,
    Path(id): Path<String>,
) -> Result<Json<OrderBody>, Problem> {
    let view = view(shop.sagas(), parse(&id)?).await?;
    Ok(Json(OrderBody { order_id: view.id, status: Some(view.status), view: Some(view) }))
}

async fn status(sagas: &Client, id: SagaId) -> Result<Option<Status>, Problem> {
    let view = sagas.view(id).await.map_err(|error| unreadable(&error))?;
    Ok(view.map(|view| view.status))
}

async fn view(sagas: &Client, id: SagaId) -> Result<SagaView, Problem> {
    let view = sagas.view(id).await.map_err(|error| unreadable(&error))?;
    view.ok_or_else(|| unreadable(&ClientError::NotFound { id }))
}

/// Which part of a log to show.
#[derive(Debug, Deserialize)]
struct LogQuery {
    /// Only entries after this position.
    #[serde(default)]
    after: u64,
}

/// One entry of `GET /orders/{id}/log`.
#[derive(Debug, Serialize)]
struct LogBody {
    seq: u64,
    at: Timestamp,
    events: Vec<String>,
}

async fn log(
    State(shop): State<Shop>,
    Path(id): Path<String>,
    Query(LogQuery { after }): Query<LogQuery>,
) -> Result<Json<Vec<LogBody>>, Problem> {
    let entries = shop.sagas().log(parse(&id)?, after, LOG_PAGE).await;
    let entries = entries.map_err(|error| unreadable(&error))?;
    let bodies = entries.into_iter().map(|entry| LogBody {
        seq: entry.transition.seq,
        at: entry.transition.at,
        events: entry.words,
    });
    Ok(Json(bodies.collect()))
}

async fn counts(
    State(shop): State<Shop>,
) -> Result<Json<BTreeMap<&'static str, BTreeMap<&'static str, u64>>>, Problem> {
    let counts = shop.sagas().counts().await.map_err(|error| unreadable(&error.into()))?;
    let counts = counts.into_iter().map(|(status, count)| (status.as_str(), count)).collect();
    Ok(Json(BTreeMap::from([("counts", counts)])))
}

/// The retriable step `confirm-order`. It never rejects: what is paid for is confirmed.
async fn confirm<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    DB::act(&barrier, &call.identity(), async move |tx| record::<DB>(tx, &call).await).await
}

/// What `/confirm` answers.
#[derive(Debug, Serialize)]
struct Confirmation {
    number: String,
}

async fn record<DB: Sql>(tx: &mut DB::Tx, call: &SagaCall<Order>) -> Result<Confirmation, Refusal> {
    books::post::<DB>(tx, &call.identity(), Orders::TITLE.service, 1).await?;
    let confirm = "INSERT INTO confirmed_order (saga_id, number) VALUES ($1, $2)";
    DB::execute(tx, confirm, &[(&call.saga_id).into(), (&call.input.order).into()]).await?;
    Ok(Confirmation { number: call.input.order.clone() })
}

fn parse(id: &str) -> Result<SagaId, Problem> {
    id.parse().map_err(|error: saga_core::IdError| {
        Problem::new(NOT_FOUND, "There is no such order", 404, error.to_string())
    })
}

fn malformed(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(MALFORMED_ORDER, "The request is no order", status.as_u16(), detail)
}

fn conflict(detail: String) -> Problem {
    Problem::new(KEY_CONFLICT, "The key was used before", 409, detail)
}

fn not_now(detail: String) -> Problem {
    Problem::new(problem::NOT_YET, "The order cannot be placed now", 503, detail)
}

fn not_started(error: &StartError) -> Problem {
    let detail = error.to_string();
    match error {
        StartError::Conflict { .. } | StartError::IdTaken { .. } => conflict(detail),
        StartError::Input { .. }
        | StartError::Key(_)
        | StartError::Id { .. }
        | StartError::Traceparent(_) => malformed(StatusCode::BAD_REQUEST, detail),
        StartError::Definition(_) | StartError::Store(_) => not_now(detail),
    }
}

fn unreadable(error: &ClientError) -> Problem {
    let detail = error.to_string();
    match error {
        ClientError::NotFound { .. } => {
            Problem::new(NOT_FOUND, "There is no such order", 404, detail)
        }
        ClientError::Store(_) => {
            Problem::new(problem::NOT_YET, "The orders cannot be read now", 503, detail)
        }
        ClientError::Unreadable { .. } => {
            Problem::new(problem::FAILED, "The order cannot be read", 500, detail)
        }
    }
}
