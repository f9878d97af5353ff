//! Loyalty points: `POST /freeze` sets a customer's points aside, `POST /unfreeze` frees them.
//!
//! A freeze goes `frozen -> unfrozen`. A new database has the customers `customer-000` to
//! `customer-099` with 10,000,000 points each, and `customer-poor` with none.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use saga_participant::{Answer, BarrierError, Refusal, SagaCall};
use serde::{Deserialize, Serialize};

use crate::books::{self, Taken, Title};
use crate::guard::Guarded;
use crate::order::Order;
use crate::participant::Participant;
use crate::sql::{Schema, Sql};

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

/// The service.
#[derive(Debug)]
pub struct Points;

impl Participant for Points {
    const TITLE: Title = Title { service: "points", unit: "points" };
    const SCHEMA: Schema = Schema {
        sqlite: include_str!("sqlite/points.sql"),
        postgres: include_str!("postgres/points.sql"),
    };

    fn calls<DB: Guarded>() -> Router<DB::Barrier> {
        Router::new().route("/freeze", post(freeze::<DB>)).route("/unfreeze", post(unfreeze::<DB>))
    }
}

async fn freeze<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    DB::act(&barrier, &call.identity(), async move |tx| set_aside::<DB>(tx, &call).await).await
}

async fn unfreeze<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    DB::compensate(&barrier, &call.identity(), async move |tx, frozen: Freeze| {
        set_free::<DB>(tx, &call, &frozen).await
    })
    .await
}

async fn set_aside<DB: Sql>(tx: &mut DB::Tx, call: &SagaCall<Order>) -> Result<Freeze, Refusal> {
    let Order { customer, points, .. } = call.input.clone();
    match books::take::<DB>(tx, &call.identity(), &customer, points).await? {
        Taken::All => {}
        Taken::NoAccount => {
            return Err(Refusal::rejected(format!("there is no customer `{customer}`")));
        }
        Taken::TooLittle { left } => {
            return Err(Refusal::rejected(format!(
                "`{customer}` has not enough points: {points} wanted, {left} free"
            )));
        }
    }
    let (freeze_id,) = DB::fetch_one(
        tx,
        "INSERT INTO frozen_points (saga_id, customer, points, state) VALUES ($1, $2, $3, 'frozen') \
         RETURNING id",
        &[(&call.saga_id).into(), (&customer).into(), points.into()],
    )
    .await?;
    Ok(Freeze { freeze_id, customer, points })
}

async fn set_free<DB: Sql>(
    tx: &mut DB::Tx,
    call: &SagaCall<Order>,
    frozen: &Freeze,
) -> Result<(), Refusal> {
    let id = frozen.freeze_id;
    let freed = DB::execute(
        tx,
        "UPDATE frozen_points SET state = 'unfrozen' WHERE id = $1 AND state = 'frozen'",
        &[id.into()],
    )
    .await?;
    if freed == 0 {
        return Err(Refusal::failed(format!("the freeze {id} is not in the state `frozen`")));
    }
    books::post::<DB>(tx, &call.identity(), &frozen.customer, frozen.points).await?;
    Ok(())
}
