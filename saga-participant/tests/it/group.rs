//! A barrier whose calls share transactions: they do, and what breaks one harms nobody else.

use std::sync::Arc;

use saga_participant::{Answer, Barrier, BarrierError, Problem, Refusal};
use sqlx::{PgConnection, Postgres};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::postgres::shop_behind_a_proxy;
use crate::proxy::AtCommit;
use crate::shop::{GROUPED, Home, Shop, act, action};

/// Calls in a group.
const CALLS: usize = 20;

/// What one call does beside its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    Reject,
    Fail,
    Panic,
    EndConnection,
    EndTransaction,
}

async fn shop() -> Shop<Postgres> {
    let shop = GROUPED.scope(true, Shop::<Postgres>::open()).await;
    shop.run("CREATE TABLE seen (transaction TEXT NOT NULL)").await;
    shop
}

async fn run(tx: &mut PgConnection, saga_id: &str, deed: Deed) -> Result<String, Refusal> {
    Postgres::effect(tx, &action(saga_id)).await?;
    Postgres::run(tx, "INSERT INTO seen SELECT pg_current_xact_id()").await?;
    match deed {
        Deed::Nothing => {}
        Deed::Reject => return Err(Refusal::rejected("not with us")),
        Deed::Fail => Postgres::run(tx, "INSERT INTO no_such_table VALUES (1)").await?,
        Deed::Panic => panic!("the business code lost its head"),
        Deed::EndConnection => {
            Postgres::run(tx, "SELECT pg_terminate_backend(pg_backend_pid())").await?;
        }
        Deed::EndTransaction => Postgres::run(tx, "ROLLBACK").await?,
    }
    Ok(format!("done for {saga_id}"))
}

/// Calls that go together, because they queue up behind one that ends when all of them are there. The
/// call in the middle does the deed.
async fn together(barrier: &Barrier<Postgres>, deed: Deed) -> Vec<Result<Answer, BarrierError>> {
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (running, ending) = (Arc::clone(&begun), Arc::clone(&end));
    let first = barrier.clone();
    let first = tokio::spawn(async move {
        let wait = async move |_: &mut PgConnection| {
            running.notify_one();
            ending.notified().await;
            Ok(())
        };
        first.act(&action("first"), wait).await
    });
    begun.notified().await;
    let mut calls = JoinSet::new();
    for nth in 0..CALLS {
        let (barrier, saga_id) = (barrier.clone(), format!("s-{nth}"));
        let deed = if nth == CALLS / 2 { deed } else { Deed::Nothing };
        calls.spawn(async move {
            let identity = action(&saga_id);
            (nth, barrier.act(&identity, async move |tx| run(tx, &saga_id, deed).await).await)
        });
    }
    // On a runtime of one thread each of them has come as far as the queue then.
    tokio::task::yield_now().await;
    end.notify_one();
    assert!(first.await.unwrap().unwrap().is_processed());
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(nth, _)| *nth);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn transactions(shop: &Shop<Postgres>) -> i64 {
    Postgres::number(shop.barrier.pool(), "SELECT count(DISTINCT transaction) FROM seen").await
}

/// All calls but the one in the middle were answered and had their effect, and that one had none.
async fn others_are_unharmed(shop: &Shop<Postgres>, answers: &[Result<Answer, BarrierError>]) {
    for (nth, answer) in answers.iter().enumerate() {
        let saga_id = format!("s-{nth}");
        let is_done = nth != CALLS / 2;
        if is_done {
            assert_eq!(answer.as_ref().unwrap().body(), format!("\"done for {saga_id}\""));
        }
        assert_eq!(shop.effects(&saga_id).await, (is_done.into(), 0), "{saga_id}");
    }
}

#[tokio::test]
async fn calls_that_arrive_together_share_a_transaction() {
    let shop = shop().await;
    for (nth, answer) in together(&shop.barrier, Deed::Nothing).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().body(), format!("\"done for s-{nth}\""));
    }
    assert_eq!(transactions(&shop).await, 1);
    assert_eq!(Postgres::number(shop.barrier.pool(), "SELECT count(*) FROM effect").await, 20);
}

#[tokio::test]
async fn a_rejection_is_recorded_without_its_writes_and_the_others_go_on() {
    let shop = shop().await;
    let answers = together(&shop.barrier, Deed::Reject).await;
    others_are_unharmed(&shop, &answers).await;
    assert_eq!(answers[CALLS / 2].as_ref().unwrap().status(), 422);
    assert_eq!((transactions(&shop).await, shop.guard_rows().await), (1, CALLS as i64 + 1));
    assert_eq!(act(&shop.barrier, "s-10").await.unwrap().status(), 422, "it is final");
}

#[tokio::test]
async fn a_failure_takes_nobody_with_it() {
    let shop = shop().await;
    let answers = together(&shop.barrier, Deed::Fail).await;
    others_are_unharmed(&shop, &answers).await;
    assert!(answers[CALLS / 2].is_err());
    assert_eq!((transactions(&shop).await, shop.guard_rows().await), (1, CALLS as i64));
    assert!(act(&shop.barrier, "s-10").await.unwrap().is_processed(), "another try finds no trace");
}

#[tokio::test]
async fn whatever_breaks_the_shared_transaction_each_call_gets_one_of_its_own() {
    for deed in [Deed::Panic, Deed::EndConnection, Deed::EndTransaction] {
        let shop = shop().await;
        let answers = together(&shop.barrier, deed).await;
        others_are_unharmed(&shop, &answers).await;
        let told = answers.into_iter().nth(CALLS / 2).unwrap().unwrap_err();
        assert_eq!(Problem::from(told).status, Some(500), "{deed:?}: unknown to the engine");
        assert_eq!(transactions(&shop).await, CALLS as i64 - 1, "{deed:?}");
    }
}

#[tokio::test]
async fn a_shared_commit_that_is_lost_is_found_out_and_done_again() {
    shared_commit(AtCommit::Lose).await;
}

#[tokio::test]
async fn a_shared_commit_whose_answer_is_lost_is_found_out_and_not_done_again() {
    shared_commit(AtCommit::LoseAnswer).await;
}

async fn shared_commit(how: AtCommit) {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    shop.run("CREATE TABLE seen (transaction TEXT NOT NULL)").await;
    let barrier = barrier.grouped();
    // The first COMMIT that comes by is that of the call in front.
    assert!(act(&barrier, "warm").await.unwrap().is_processed());
    let is_known = matches!(how, AtCommit::LoseAnswer);
    proxy.break_commit_after_next(how);
    for (nth, answer) in together(&barrier, Deed::Nothing).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().body(), format!("\"done for s-{nth}\""));
        assert_eq!(shop.effects(&format!("s-{nth}")).await, (1, 0));
    }
    let expected = if is_known { 1 } else { CALLS as i64 };
    assert_eq!(transactions(&shop).await, expected);
}
