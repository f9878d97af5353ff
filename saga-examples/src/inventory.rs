//! The stock: `POST /reserve` takes units out for an order, `POST /release` puts them back.
//!
//! A reservation goes `reserved -> released`. A new database has 1,000,000 units of each of
//! `SKU-000` to `SKU-009`, and 5 of `SKU-RARE`.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, Barrier, BarrierError, Refusal, SagaCall};
use serde::{Deserialize, Serialize};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};

use crate::books::{self, Title};
use crate::order::Order;
use crate::participant;
use crate::service::ServiceError;
use crate::switches::Switches;

const TITLE: Title = Title { service: "inventory", unit: "units of stock" };

/// What `/reserve` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The number of the reservation.
    pub reservation_id: i64,
    /// What is reserved.
    pub sku: String,
    /// How many units of it.
    pub quantity: u32,
}

/// The service over its database.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router(pool: SqlitePool, switches: Switches) -> Result<Router, ServiceError> {
    let barrier = participant::prepare(&pool, include_str!("inventory.sql")).await?;
    let calls = Router::new().route("/reserve", post(reserve)).route("/release", post(release));
    Ok(participant::router(TITLE, calls, barrier, switches))
}

async fn reserve(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    barrier.act(&call.identity(), async move |tx| take_out(tx, &call).await).await
}

async fn release(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    barrier
        .compensate(&call.identity(), async move |tx, reservation: Reservation| {
            put_back(tx, &call, &reservation).await
        })
        .await
}

async fn take_out(
    tx: &mut SqliteConnection,
    call: &SagaCall<Order>,
) -> Result<Reservation, Refusal> {
    let Order { sku, quantity, .. } = call.input.clone();
    if quantity == 0 {
        return Err(Refusal::rejected("the quantity is 0; at least 1 can be reserved"));
    }
    match books::balance(tx, &sku).await? {
        None => return Err(Refusal::rejected(format!("there is no SKU `{sku}`"))),
        Some(left) if left < i64::from(quantity) => {
            return Err(Refusal::rejected(format!(
                "`{sku}` is out of stock: {quantity} wanted, {left} left"
            )));
        }
        Some(_) => {}
    }
    books::post(tx, &call.identity(), &sku, quantity).await?;
    let reservation_id = sqlx::query_scalar(
        "INSERT INTO reservation (saga_id, sku, quantity, state) VALUES ($1, $2, $3, 'reserved') \
         RETURNING id",
    )
    .bind(&call.saga_id)
    .bind(&sku)
    .bind(quantity)
    .fetch_one(tx)
    .await?;
    Ok(Reservation { reservation_id, sku, quantity })
}

async fn put_back(
    tx: &mut SqliteConnection,
    call: &SagaCall<Order>,
    reservation: &Reservation,
) -> Result<(), Refusal> {
    let released = sqlx::query(
        "UPDATE reservation SET state = 'released' WHERE id = $1 AND state = 'reserved'",
    )
    .bind(reservation.reservation_id)
    .execute(&mut *tx)
    .await?;
    if released.rows_affected() == 0 {
        let id = reservation.reservation_id;
        return Err(Refusal::failed(format!(
            "the reservation {id} is not in the state `reserved`"
        )));
    }
    books::post(tx, &call.identity(), &reservation.sku, reservation.quantity).await?;
    Ok(())
}
