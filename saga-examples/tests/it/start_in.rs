//! The example `start_in`: an order and its saga appear together or not at all.

#[allow(dead_code, reason = "a test calls everything of the example but its `main`")]
#[path = "../../examples/start_in.rs"]
mod example;

use std::time::Duration;

use example::{End, Shop, ship_order};
use saga_core::store::SagaRow;
use saga_core::{IdempotencyKey, Verdict};
use saga_worker::{Client, Worker};

/// How long a worker may take to find and complete a saga.
const PATIENCE: Duration = Duration::from_secs(30);

async fn saga(client: &Client, number: &str) -> Option<SagaRow> {
    let key = IdempotencyKey::new(number).unwrap();
    client.find_by_key("ship-order", &key).await.unwrap()
}

async fn neither_after_a_rollback_or_a_crash_and_both_after_a_commit(url: &str) {
    let shop = Shop::open(url).await.unwrap();
    let client = Client::new(shop.sagas(), vec![ship_order().unwrap()]).unwrap();
    // Another process would open the database anew, and so does this worker.
    let elsewhere = Shop::open(url).await.unwrap();
    let worker = Worker::builder(elsewhere.sagas()).register(ship_order().unwrap());
    let worker = worker.start().await.unwrap();

    for (number, end) in [("rolled-back", End::GiveUp), ("crashed", End::Crash)] {
        shop.place(&client, number, end).await.unwrap();
        assert!(!shop.has_order(number).await.unwrap(), "{number}");
        assert_eq!(saga(&client, number).await, None, "{number}");
    }
    // Nothing of them is left that a later order of the same number would meet.
    for number in ["rolled-back", "crashed", "committed"] {
        shop.place(&client, number, End::Commit).await.unwrap();
        assert!(shop.has_order(number).await.unwrap(), "{number}");
        let saga = saga(&client, number).await.expect(number);
        let verdict = tokio::time::timeout(PATIENCE, client.verdict(saga.id)).await.unwrap();
        assert_eq!(verdict.unwrap(), Verdict::Completed, "{number}");
    }
    assert!(shop.place(&client, "committed", End::Commit).await.is_err(), "it is placed already");
    worker.shutdown().await;
}

mod sqlite {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn neither_after_a_rollback_or_a_crash_and_both_after_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("shop.db").display());
        super::neither_after_a_rollback_or_a_crash_and_both_after_a_commit(&url).await;
    }
}

mod postgres {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn neither_after_a_rollback_or_a_crash_and_both_after_a_commit() {
        let url = throwaway_postgres::fresh_database().unwrap();
        super::neither_after_a_rollback_or_a_crash_and_both_after_a_commit(&url).await;
    }
}
