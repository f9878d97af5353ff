//! Failures, callers that go away, and transactions of the caller: never half of anything.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use saga_participant::{Answer, BarrierError, Problem, Refusal};
use tokio::sync::{Notify, oneshot};

use crate::shop::{Shop, act, action, compensate, compensation, effect, problem};

#[tokio::test]
async fn a_business_failure_leaves_nothing_and_the_next_attempt_runs() {
    let shop = Shop::open().await;
    let failed = shop
        .barrier
        .act(&action("s"), async |tx| {
            effect(tx, &action("s")).await?;
            sqlx::query("INSERT INTO no_such_table VALUES (1)").execute(tx).await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("no_such_table"), "{failed}");
    assert_eq!(Problem::from(failed).status, Some(500));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_panic_leaves_nothing_and_the_next_attempt_runs() {
    let shop = Shop::open().await;
    let lost = shop
        .barrier
        .act(&action("s"), async |tx| -> Result<(), Refusal> {
            effect(tx, &action("s")).await?;
            panic!("a bug in the business")
        })
        .await;
    assert!(matches!(lost, Err(BarrierError::Lost(_))), "{lost:?}");
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

#[tokio::test]
async fn not_yet_leaves_nothing_and_the_next_attempt_runs() {
    let shop = Shop::open().await;
    let locked = shop
        .barrier
        .act(&action("s"), async |tx| -> Result<(), Refusal> {
            effect(tx, &action("s")).await?;
            Err(Refusal::not_yet("order-7 is being placed", Duration::from_secs(2)))
        })
        .await
        .unwrap();
    assert_eq!((locked.status(), locked.is_recorded()), (503, false));
    assert_eq!(problem(&locked).reason(), Some("order-7 is being placed"));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_recorded_output_of_another_type_fails_the_compensation_without_a_trace() {
    let shop = Shop::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let misfit = shop
        .barrier
        .compensate(&compensation("s"), async |_tx, _output: u64| Ok(()))
        .await
        .unwrap_err();
    assert!(misfit.to_string().contains("expected u64"), "{misfit}");

    assert!(compensate(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_caller_that_goes_away_in_mid_transaction_does_not_stop_it() {
    let shop = Shop::open().await;
    let (entered, has_entered) = oneshot::channel();
    let go_on = Arc::new(Notify::new());
    let (barrier, wait) = (shop.barrier.clone(), Arc::clone(&go_on));
    let caller = tokio::spawn(async move {
        barrier
            .act(&action("s"), async move |tx| {
                effect(tx, &action("s")).await?;
                entered.send(()).expect("the test waits for this");
                wait.notified().await;
                Ok("done for s".to_owned())
            })
            .await
    });
    has_entered.await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go_on.notify_one();

    // The transaction still holds the database's write lock, so this attempt waits for its end.
    let answer = act(&shop.barrier, "s").await.unwrap();
    assert_eq!(answer.body(), r#""done for s""#);
    assert_eq!(shop.effects("s").await, (1, 0));
}

#[tokio::test]
async fn callers_that_go_away_at_once_harm_neither_their_own_call_nor_a_later_one() {
    let shop = Shop::open().await;
    let sagas: Vec<String> = (0..40).map(|nth| format!("s-{nth}")).collect();
    for saga_id in &sagas {
        let mut call = pin!(act(&shop.barrier, saga_id));
        std::future::poll_fn(|context| {
            assert!(call.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    for saga_id in &sagas {
        assert!(act(&shop.barrier, saga_id).await.unwrap().is_processed());
    }
    // Another connection sees them, so no answer was given inside a forgotten transaction.
    let other = shop.other_process().await;
    let effects: i64 =
        sqlx::query_scalar("SELECT count(*) FROM effect").fetch_one(other.pool()).await.unwrap();
    assert_eq!(effects, 40);
}

#[tokio::test]
async fn a_call_inside_a_transaction_of_the_caller_lives_and_dies_with_it() {
    let shop = Shop::open().await;
    let begin = || shop.barrier.pool().begin_with("BEGIN IMMEDIATE");
    let run = async |tx: &mut sqlx::SqliteConnection| -> Result<(), Refusal> {
        effect(tx, &action("s")).await
    };

    let mut tx = begin().await.unwrap();
    assert!(shop.barrier.act_in(&mut tx, &action("s"), run).await.unwrap().is_processed());
    tx.rollback().await.unwrap();
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    let mut tx = begin().await.unwrap();
    shop.barrier.act_in(&mut tx, &action("s"), run).await.unwrap();
    let undo = async |tx: &mut sqlx::SqliteConnection, (): ()| -> Result<(), Refusal> {
        effect(tx, &compensation("s")).await
    };
    shop.barrier.compensate_in(&mut tx, &compensation("s"), undo).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 1), 2));
}

#[tokio::test]
async fn a_database_that_stays_locked_is_answered_with_not_yet() {
    let shop = Shop::open().await;
    let impatient = shop.barrier.pool().connect_options().as_ref().clone();
    let impatient =
        sqlx::SqlitePool::connect_with(impatient.busy_timeout(Duration::ZERO)).await.unwrap();
    let _lock = shop.barrier.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
    let busy = act(&saga_participant::Barrier::new(impatient), "s").await.unwrap_err();
    assert!(matches!(busy, BarrierError::Unavailable(_)), "{busy:?}");
    assert_eq!(Problem::from(busy).status, Some(503));
}

#[tokio::test]
async fn migrating_again_keeps_what_is_recorded() {
    let shop = Shop::open().await;
    let first: Answer = act(&shop.barrier, "s").await.unwrap();
    shop.barrier.migrate().await.unwrap();
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
}

#[tokio::test]
async fn pruning_takes_old_steps_whole_and_leaves_young_ones_whole() {
    let shop = Shop::open().await;
    for saga_id in ["old", "mixed", "young"] {
        act(&shop.barrier, saga_id).await.unwrap();
        compensate(&shop.barrier, saga_id).await.unwrap();
    }
    sqlx::query(
        "UPDATE saga_barrier SET recorded_at = 1 \
         WHERE saga_id = 'old' OR (saga_id = 'mixed' AND op = 'action')",
    )
    .execute(shop.barrier.pool())
    .await
    .unwrap();

    let pruned = shop.barrier.prune(Duration::from_secs(3600)).await.unwrap();
    assert_eq!((pruned, shop.guard_rows().await), (2, 4));
    assert_eq!(shop.barrier.prune(Duration::from_secs(3600)).await.unwrap(), 0);

    // The risk that `prune` names: the pruned action is done once more.
    assert!(act(&shop.barrier, "old").await.unwrap().is_processed());
    assert_eq!(shop.effects("old").await, (2, 1));
}
