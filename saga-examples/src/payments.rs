//! Payments: `POST /capture` charges the card of an order.
//!
//! It is the pivot of the saga, so there is no compensation. Any card is good but `card-declined`.
//! The books open at 0; what has been captured from a card is held and missing from its balance.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, Problem, Refusal, SagaCall};
use serde::{Deserialize, Serialize};

use crate::books::{self, Title};
use crate::coupons::{REDEEM_COUPON, Redemption};
use crate::guard::Guarded;
use crate::order::Order;
use crate::participant::Participant;
use crate::sql::{Schema, Sql, SqlError};

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

/// The service.
#[derive(Debug)]
pub struct Payments;

impl Participant for Payments {
    const TITLE: Title = Title { service: "payments", unit: "cents" };
    const SCHEMA: Schema = Schema {
        sqlite: include_str!("sqlite/payments.sql"),
        postgres: include_str!("postgres/payments.sql"),
    };

    fn calls<DB: Guarded>() -> Router<DB::Barrier> {
        Router::new().route("/capture", post(capture::<DB>))
    }
}

async fn capture<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, Problem> {
    let redemption: Redemption = call.output(REDEEM_COUPON)?;
    let cents = call.input.amount_cents.saturating_sub(redemption.discount_cents);
    Ok(DB::act(&barrier, &call.identity(), async move |tx| charge::<DB>(tx, &call, cents).await)
        .await?)
}

async fn charge<DB: Sql>(
    tx: &mut DB::Tx,
    call: &SagaCall<Order>,
    captured_cents: u32,
) -> Result<Payment, Refusal> {
    let card = &call.input.card;
    if card == DECLINED_CARD {
        return Err(Refusal::rejected(format!("the card `{card}` is declined")));
    }
    match books::post::<DB>(tx, &call.identity(), card, captured_cents).await {
        // Its first payment.
        Err(SqlError::NoRow) => {
            let open = "INSERT INTO account (name, opening, balance, held) VALUES ($1, 0, 0, 0) \
                 ON CONFLICT (name) DO NOTHING";
            DB::execute(tx, open, &[card.into()]).await?;
            books::post::<DB>(tx, &call.identity(), card, captured_cents).await?;
        }
        posted => posted?,
    }
    let (payment_id,) = DB::fetch_one(
        tx,
        "INSERT INTO payment (saga_id, card, cents) VALUES ($1, $2, $3) RETURNING id",
        &[(&call.saga_id).into(), card.into(), captured_cents.into()],
    )
    .await?;
    Ok(Payment { payment_id, captured_cents })
}
