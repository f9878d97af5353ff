//! Coupons: `POST /redeem` spends the coupon of an order, `POST /restore` gives it back.
//!
//! A coupon goes `available -> redeemed -> available`. A new database has `COUPON-00000` to
//! `COUPON-09999`, each good for one redemption of 500 cents, and `EXPIRED`, which has expired.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, Barrier, BarrierError, CallIdentity, Refusal, SagaCall};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::books::{self, Title};
use crate::order::Order;
use crate::participant;
use crate::service::ServiceError;
use crate::switches::Switches;

const TITLE: Title = Title { service: "coupons", unit: "coupons" };

/// The name of the step that redeems the coupon; later steps find its output under it.
pub const REDEEM_COUPON: &str = "redeem-coupon";

/// What `/redeem` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The coupon that was redeemed; absent when the order has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<String>,
    /// What it takes off the price, in cents.
    pub discount_cents: u32,
}

/// The service over its database.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router(pool: SqlitePool, switches: Switches) -> Result<Router, ServiceError> {
    let barrier = participant::prepare(&pool, include_str!("coupons.sql")).await?;
    let calls = Router::new().route("/redeem", post(redeem)).route("/restore", post(restore));
    Ok(participant::router(TITLE, calls, barrier, switches))
}

async fn redeem(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    let identity = call.identity();
    barrier
        .act(&call.identity(), async move |tx| match &call.input.coupon {
            Some(code) => spend(tx, &identity, code).await,
            None => Ok(Redemption::default()),
        })
        .await
}

async fn restore(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    let identity = call.identity();
    barrier
        .compensate(&call.identity(), async move |tx, redemption: Redemption| {
            match &redemption.coupon {
                Some(code) => give_back(tx, &identity, code).await,
                None => Ok(()),
            }
        })
        .await
}

async fn spend(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
    code: &str,
) -> Result<Redemption, Refusal> {
    let coupon: Option<(u32, bool, String)> = sqlx::query_as(
        "SELECT cents, coalesce(expires_at <= unixepoch() * 1000000, FALSE), state \
         FROM coupon WHERE code = $1",
    )
    .bind(code)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((discount_cents, has_expired, state)) = coupon else {
        return Err(Refusal::rejected(format!("there is no coupon `{code}`")));
    };
    if has_expired {
        return Err(Refusal::rejected(format!("the coupon `{code}` has expired")));
    }
    if state != "available" {
        return Err(Refusal::rejected(format!("the coupon `{code}` is already {state}")));
    }
    turn(tx, code, ["available", "redeemed"]).await?;
    books::post(tx, identity, code, 1).await?;
    Ok(Redemption { coupon: Some(code.to_owned()), discount_cents })
}

async fn give_back(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
    code: &str,
) -> Result<(), Refusal> {
    turn(tx, code, ["redeemed", "available"]).await?;
    books::post(tx, identity, code, 1).await?;
    Ok(())
}

/// Takes a coupon from one state to the next; fails when it is in another state.
async fn turn(tx: &mut SqliteConnection, code: &str, [from, to]: [&str; 2]) -> Result<(), Refusal> {
    let turned = sqlx::query("UPDATE coupon SET state = $1 WHERE code = $2 AND state = $3")
        .bind(to)
        .bind(code)
        .bind(from)
        .execute(tx)
        .await?;
    if turned.rows_affected() == 0 {
        return Err(Refusal::failed(format!("the coupon `{code}` is not in the state `{from}`")));
    }
    Ok(())
}
