//! Payments: `POST /capture` charges the card of an order.
//!
//! It is the pivot of the saga, so there is no compensation. Any card is good but `card-declined`.
//! The books open at 0; what has been captured from a card is held and missing from its balance.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, Barrier, Problem, Refusal, SagaCall};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::books::{self, Title};
use crate::coupons::{REDEEM_COUPON, Redemption};
use crate::order::Order;
use crate::participant;
use crate::service::ServiceError;
use crate::switches::Switches;

const TITLE: Title = Title { service: "payments", unit: "cents" };

/// The card that is always declined.
const DECLINED_CARD: &str = "card-declined";

/// What `/capture` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The number of the payment.
    pub payment_id: i64,
    /// What was charged, in cents: the price less the discount, but never less than 0.
    pub captured_cents: u32,
}

/// The service over its database.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router(pool: SqlitePool, switches: Switches) -> Result<Router, ServiceError> {
    let barrier = participant::prepare(&pool, include_str!("payments.sql")).await?;
    let calls = Router::new().route("/capture", post(capture));
    Ok(participant::router(TITLE, calls, barrier, switches))
}

async fn capture(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, Problem> {
    let redemption: Redemption = call.output(REDEEM_COUPON)?;
    let cents = call.input.amount_cents.saturating_sub(redemption.discount_cents);
    Ok(barrier.act(&call.identity(), async move |tx| charge(tx, &call, cents).await).await?)
}

async fn charge(
    tx: &mut SqliteConnection,
    call: &SagaCall<Order>,
    captured_cents: u32,
) -> Result<Payment, Refusal> {
    let card = &call.input.card;
    if card == DECLINED_CARD {
        return Err(Refusal::rejected(format!("the card `{card}` is declined")));
    }
    sqlx::query(
        "INSERT OR IGNORE INTO account (name, opening, balance, held) VALUES ($1, 0, 0, 0)",
    )
    .bind(card)
    .execute(&mut *tx)
    .await?;
    books::post(tx, &call.identity(), card, captured_cents).await?;
    let payment_id = sqlx::query_scalar(
        "INSERT INTO payment (saga_id, card, cents) VALUES ($1, $2, $3) RETURNING id",
    )
    .bind(&call.saga_id)
    .bind(card)
    .bind(captured_cents)
    .fetch_one(tx)
    .await?;
    Ok(Payment { payment_id, captured_cents })
}
