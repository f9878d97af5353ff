//! Coupons: `POST /redeem` spends the coupon of an order, `POST /restore` gives it back.
//!
//! A coupon goes `available -> redeemed -> available`. A new database has `COUPON-00000` to
//! `COUPON-09999`, each good for one redemption of 500 cents, and `EXPIRED`, which has expired.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, BarrierError, CallIdentity, Refusal, SagaCall};
use serde::{Deserialize, Serialize};

use crate::books::{self, Title};
use crate::guard::Guarded;
use crate::order::Order;
use crate::participant::Participant;
use crate::sql::{Schema, Sql, SqlError};

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

/// The service.
#[derive(Debug)]
pub struct Coupons;

impl Participant for Coupons {
    const TITLE: Title = Title { service: "coupons", unit: "coupons" };
    const SCHEMA: Schema = Schema {
        sqlite: include_str!("sqlite/coupons.sql"),
        postgres: include_str!("postgres/coupons.sql"),
    };

    fn calls<DB: Guarded>() -> Router<DB::Barrier> {
        Router::new().route("/redeem", post(redeem::<DB>)).route("/restore", post(restore::<DB>))
    }
}

async fn redeem<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    let identity = call.identity();
    DB::act(&barrier, &call.identity(), async move |tx| match &call.input.coupon {
        Some(code) => spend::<DB>(tx, &identity, code).await,
        None => Ok(Redemption::default()),
    })
    .await
}

async fn restore<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    let identity = call.identity();
    DB::compensate(&barrier, &call.identity(), async move |tx, redemption: Redemption| {
        match &redemption.coupon {
            Some(code) => give_back::<DB>(tx, &identity, code).await,
            None => Ok(()),
        }
    })
    .await
}

async fn spend<DB: Sql>(
    tx: &mut DB::Tx,
    identity: &CallIdentity,
    code: &str,
) -> Result<Redemption, Refusal> {
    // One statement looks and redeems, so that nobody can come in between.
    let redeem = "UPDATE coupon SET state = 'redeemed' \
         WHERE code = $1 AND state = 'available' AND (expires_at IS NULL OR expires_at > $2) \
         RETURNING cents";
    let now = now_micros();
    let redeemed = DB::fetch_optional::<(i64,)>(tx, redeem, &[code.into(), now.into()]).await?;
    let Some((cents,)) = redeemed else { return Err(refusal::<DB>(tx, code, now).await?) };
    let discount_cents = u32::try_from(cents).map_err(Refusal::failed)?;
    books::post::<DB>(tx, identity, code, 1).await?;
    Ok(Redemption { coupon: Some(code.to_owned()), discount_cents })
}

/// Why a coupon was not redeemed.
async fn refusal<DB: Sql>(tx: &mut DB::Tx, code: &str, now: i64) -> Result<Refusal, SqlError> {
    let look = "SELECT expires_at, state FROM coupon WHERE code = $1";
    let coupon: Option<(Option<i64>, String)> =
        DB::fetch_optional(tx, look, &[code.into()]).await?;
    let Some((expires_at, state)) = coupon else {
        return Ok(Refusal::rejected(format!("there is no coupon `{code}`")));
    };
    if expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Ok(Refusal::rejected(format!("the coupon `{code}` has expired")));
    }
    if state != "available" {
        return Ok(Refusal::rejected(format!("the coupon `{code}` is already {state}")));
    }
    // Given back between the two statements: no reason to reject any more.
    Ok(Refusal::failed(format!("the coupon `{code}` has changed meanwhile")))
}

async fn give_back<DB: Sql>(
    tx: &mut DB::Tx,
    identity: &CallIdentity,
    code: &str,
) -> Result<(), Refusal> {
    let restored = DB::execute(
        tx,
        "UPDATE coupon SET state = 'available' WHERE code = $1 AND state = 'redeemed'",
        &[code.into()],
    )
    .await?;
    if restored == 0 {
        return Err(Refusal::failed(format!("the coupon `{code}` is not in the state `redeemed`")));
    }
    books::post::<DB>(tx, identity, code, 1).await?;
    Ok(())
}

/// Microseconds since 1970.
fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
