//! Loyalty points: `POST /freeze` sets a customer's points aside, `POST /unfreeze` frees them.
//!
//! A freeze goes `frozen -> unfrozen`. A new database has the customers `customer-000` to
//! `customer-099` with 10,000,000 points each, and `customer-poor` with none.

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

const TITLE: Title = Title { service: "points", unit: "points" };

/// What `/freeze` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The number of the freeze.
    pub freeze_id: i64,
    /// Whose points are frozen.
    pub customer: String,
    /// How many; 0 for an order that uses none.
    pub points: u32,
}

/// The service over its database.
///
/// # Errors
/// When the database cannot be prepared.
pub async fn router(pool: SqlitePool, switches: Switches) -> Result<Router, ServiceError> {
    let barrier = participant::prepare(&pool, include_str!("points.sql")).await?;
    let calls = Router::new().route("/freeze", post(freeze)).route("/unfreeze", post(unfreeze));
    Ok(participant::router(TITLE, calls, barrier, switches))
}

async fn freeze(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    barrier.act(&call.identity(), async move |tx| set_aside(tx, &call).await).await
}

async fn unfreeze(
    State(barrier): State<Barrier<Sqlite>>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    barrier
        .compensate(&call.identity(), async move |tx, frozen: Freeze| {
            set_free(tx, &call, &frozen).await
        })
        .await
}

async fn set_aside(tx: &mut SqliteConnection, call: &SagaCall<Order>) -> Result<Freeze, Refusal> {
    let Order { customer, points, .. } = call.input.clone();
    match books::balance(tx, &customer).await? {
        None => return Err(Refusal::rejected(format!("there is no customer `{customer}`"))),
        Some(has) if has < i64::from(points) => {
            return Err(Refusal::rejected(format!(
                "`{customer}` has not enough points: {points} wanted, {has} free"
            )));
        }
        Some(_) => {}
    }
    books::post(tx, &call.identity(), &customer, points).await?;
    let freeze_id = sqlx::query_scalar(
        "INSERT INTO freeze (saga_id, customer, points, state) VALUES ($1, $2, $3, 'frozen') \
         RETURNING id",
    )
    .bind(&call.saga_id)
    .bind(&customer)
    .bind(points)
    .fetch_one(tx)
    .await?;
    Ok(Freeze { freeze_id, customer, points })
}

async fn set_free(
    tx: &mut SqliteConnection,
    call: &SagaCall<Order>,
    frozen: &Freeze,
) -> Result<(), Refusal> {
    let freed =
        sqlx::query("UPDATE freeze SET state = 'unfrozen' WHERE id = $1 AND state = 'frozen'")
            .bind(frozen.freeze_id)
            .execute(&mut *tx)
            .await?;
    if freed.rows_affected() == 0 {
        let id = frozen.freeze_id;
        return Err(Refusal::failed(format!("the freeze {id} is not in the state `frozen`")));
    }
    books::post(tx, &call.identity(), &frozen.customer, frozen.points).await?;
    Ok(())
}
