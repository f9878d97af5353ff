//! The books find every disagreement between accounts and ledger.

use saga_examples::books::{self, Books, Title};
use saga_examples::database::Database;
use saga_examples::participant;
use saga_examples::sql::{Schema, SqlError};
use saga_participant::{CallIdentity, Op};
use sqlx::Pool;

use crate::place::{Kind, Place, on_each_database};

const TITLE: Title = Title { service: "shop", unit: "things" };

const SCHEMA: Schema = Schema { sqlite: TEN_THINGS, postgres: TEN_THINGS };
const TEN_THINGS: &str =
    "INSERT INTO account VALUES ('thing', 10, 10, 0) ON CONFLICT (name) DO NOTHING";

on_each_database!(
    actions_hold_and_compensations_give_back,
    a_doubled_effect_shows_in_the_count,
    a_change_that_is_not_in_the_ledger_shows,
    an_unknown_account_is_an_error_and_no_movement,
);

/// Books with the account `thing`, of which there are 10.
async fn ten_things<DB: Kind>() -> (Place, Pool<DB>) {
    let place = DB::new_place();
    let pool = DB::pool(Database::open(&place.address, TITLE.service).await.unwrap());
    participant::prepare(pool.clone(), SCHEMA).await.unwrap();
    (place, pool)
}

fn identity(saga_id: &str, op: Op) -> CallIdentity {
    CallIdentity { saga_id: saga_id.to_owned(), step: "take".to_owned(), op }
}

async fn post<DB: Kind>(pool: &Pool<DB>, saga_id: &str, op: Op, amount: u32) {
    let mut connection = pool.acquire().await.unwrap();
    books::post::<DB>(&mut connection, &identity(saga_id, op), "thing", amount).await.unwrap();
}

async fn read<DB: Kind>(pool: &Pool<DB>) -> Books {
    Books::read(pool, TITLE).await.unwrap()
}

async fn actions_hold_and_compensations_give_back<DB: Kind>() {
    let (_place, pool) = ten_things::<DB>().await;
    post(&pool, "a", Op::Action, 3).await;
    post(&pool, "b", Op::Action, 4).await;
    post(&pool, "a", Op::Compensation, 3).await;
    post(&pool, "c", Op::Action, 0).await;
    let books = read(&pool).await;
    assert_eq!((books.opening, books.balance, books.held), (10, 6, 4));
    assert!(books.arithmetic_ok);
    let effects: Vec<_> = books
        .movements
        .iter()
        .map(|of| (of.saga_id.as_str(), of.action_effects, of.compensation_effects, of.amount))
        .collect();
    assert_eq!(effects, [("a", 1, 1, 3), ("b", 1, 0, 4)]);
}

async fn a_doubled_effect_shows_in_the_count<DB: Kind>() {
    let (_place, pool) = ten_things::<DB>().await;
    for _ in 0..2 {
        post(&pool, "a", Op::Action, 3).await;
    }
    assert_eq!(read(&pool).await.movements[0].action_effects, 2);
}

async fn a_change_that_is_not_in_the_ledger_shows<DB: Kind>() {
    for forgery in [
        "UPDATE account SET balance = balance - 1",
        "UPDATE account SET balance = balance - 1, held = held + 1",
        "DELETE FROM movement",
        "INSERT INTO movement (saga_id, step, op, account, amount) \
         VALUES ('b', 'step', 'action', 'nothing', 1)",
    ] {
        let (_place, pool) = ten_things::<DB>().await;
        post(&pool, "a", Op::Action, 3).await;
        let mut connection = pool.acquire().await.unwrap();
        DB::run(&mut connection, forgery).await.unwrap();
        drop(connection);
        assert!(!read(&pool).await.arithmetic_ok, "{forgery}");
    }
}

async fn an_unknown_account_is_an_error_and_no_movement<DB: Kind>() {
    let (_place, pool) = ten_things::<DB>().await;
    let mut connection = pool.acquire().await.unwrap();
    let unknown =
        books::post::<DB>(&mut connection, &identity("a", Op::Action), "nothing", 1).await;
    assert!(matches!(unknown, Err(SqlError::NoRow)));
    assert_eq!(read(&pool).await.movements, []);
}
