//! The stock: `POST /reserve` takes units out for an order, `POST /release` puts them back.
//!
//! A reservation goes `reserved -> released`. A new database has 1,000,000 units of each of
//! `SKU-000` to `SKU-009`, and 5 of `SKU-RARE`.

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

/// The service.
#[derive(Debug)]
pub struct Inventory;

impl Participant for Inventory {
    const TITLE: Title = Title { service: "inventory", unit: "units of stock" };
    const SCHEMA: Schema = Schema {
        sqlite: include_str!("sqlite/inventory.sql"),
        postgres: include_str!("postgres/inventory.sql"),
    };

    fn calls<DB: Guarded>() -> Router<DB::Barrier> {
        Router::new().route("/reserve", post(reserve::<DB>)).route("/release", post(release::<DB>))
    }
}

async fn reserve<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    DB::act(&barrier, &call.identity(), async move |tx| take_out::<DB>(tx, &call).await).await
}

async fn release<DB: Guarded>(
    State(barrier): State<DB::Barrier>,
    call: SagaCall<Order>,
) -> Result<Answer, BarrierError> {
    DB::compensate(&barrier, &call.identity(), async move |tx, reservation: Reservation| {
        put_back::<DB>(tx, &call, &reservation).await
    })
    .await
}

async fn take_out<DB: Sql>(
    tx: &mut DB::Tx,
    call: &SagaCall<Order>,
) -> Result<Reservation, Refusal> {
    let Order { sku, quantity, .. } = call.input.clone();
    if quantity == 0 {
        return Err(Refusal::rejected("the quantity is 0; at least 1 can be reserved"));
    }
    match books::take::<DB>(tx, &call.identity(), &sku, quantity).await? {
        Taken::All => {}
        Taken::NoAccount => return Err(Refusal::rejected(format!("there is no SKU `{sku}`"))),
        Taken::TooLittle { left } => {
            return Err(Refusal::rejected(format!(
                "`{sku}` is out of stock: {quantity} wanted, {left} left"
            )));
        }
    }
    let (reservation_id,) = DB::fetch_one(
        tx,
        "INSERT INTO reservation (saga_id, sku, quantity, state) VALUES ($1, $2, $3, 'reserved') \
         RETURNING id",
        &[(&call.saga_id).into(), (&sku).into(), quantity.into()],
    )
    .await?;
    Ok(Reservation { reservation_id, sku, quantity })
}

async fn put_back<DB: Sql>(
    tx: &mut DB::Tx,
    call: &SagaCall<Order>,
    reservation: &Reservation,
) -> Result<(), Refusal> {
    let id = reservation.reservation_id;
    let released = DB::execute(
        tx,
        "UPDATE reservation SET state = 'released' WHERE id = $1 AND state = 'reserved'",
        &[id.into()],
    )
    .await?;
    if released == 0 {
        return Err(Refusal::failed(format!(
            "the reservation {id} is not in the state `reserved`"
        )));
    }
    books::post::<DB>(tx, &call.identity(), &reservation.sku, reservation.quantity).await?;
    Ok(())
}
