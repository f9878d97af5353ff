//! The books find every disagreement between accounts and ledger.

use saga_examples::books::{self, Books, Title};
use saga_examples::{participant, service};
use saga_participant::{CallIdentity, Op};
use sqlx::SqlitePool;
use tempfile::TempDir;

const TITLE: Title = Title { service: "shop", unit: "things" };

/// Books with the account `thing`, of which there are 10.
async fn ten_things() -> (TempDir, SqlitePool) {
    let folder = tempfile::tempdir().unwrap();
    let pool = service::open_database(&folder.path().join("shop.db")).await.unwrap();
    participant::prepare(&pool, "INSERT OR IGNORE INTO account VALUES ('thing', 10, 10, 0)")
        .await
        .unwrap();
    (folder, pool)
}

fn identity(saga_id: &str, op: Op) -> CallIdentity {
    CallIdentity { saga_id: saga_id.to_owned(), step: "take".to_owned(), op }
}

async fn post(pool: &SqlitePool, saga_id: &str, op: Op, amount: u32) {
    let mut connection = pool.acquire().await.unwrap();
    books::post(&mut connection, &identity(saga_id, op), "thing", amount).await.unwrap();
}

async fn read(pool: &SqlitePool) -> Books {
    Books::read(pool, TITLE).await.unwrap()
}

#[tokio::test]
async fn actions_hold_and_compensations_give_back() {
    let (_folder, pool) = ten_things().await;
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

#[tokio::test]
async fn a_doubled_effect_shows_in_the_count() {
    let (_folder, pool) = ten_things().await;
    for _ in 0..2 {
        post(&pool, "a", Op::Action, 3).await;
    }
    assert_eq!(read(&pool).await.movements[0].action_effects, 2);
}

#[tokio::test]
async fn a_change_that_is_not_in_the_ledger_shows() {
    for forgery in [
        "UPDATE account SET balance = balance - 1",
        "UPDATE account SET balance = balance - 1, held = held + 1",
        "DELETE FROM movement",
    ] {
        let (_folder, pool) = ten_things().await;
        post(&pool, "a", Op::Action, 3).await;
        sqlx::query(forgery).execute(&pool).await.unwrap();
        assert!(!read(&pool).await.arithmetic_ok, "{forgery}");
    }
}

#[tokio::test]
async fn an_unknown_account_is_an_error_and_no_movement() {
    let (_folder, pool) = ten_things().await;
    let mut connection = pool.acquire().await.unwrap();
    let unknown = books::post(&mut connection, &identity("a", Op::Action), "nothing", 1).await;
    assert!(matches!(unknown, Err(sqlx::Error::RowNotFound)));
    assert_eq!(read(&pool).await.movements, []);
}
