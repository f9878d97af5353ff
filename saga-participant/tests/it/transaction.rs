//! Failures, callers that go away, and transactions of the caller: never half of anything.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use saga_participant::{Answer, BarrierError, Problem, Refusal};
use sqlx::Connection as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::shop::{Home, Shop, act, action, compensate, compensation, on_each_database, problem};

on_each_database!(
    a_business_failure_leaves_nothing_and_the_next_attempt_runs,
    a_panic_leaves_nothing_and_the_next_attempt_runs,
    not_yet_leaves_nothing_and_the_next_attempt_runs,
    a_recorded_output_of_another_type_fails_the_compensation_without_a_trace,
    a_caller_that_goes_away_in_mid_transaction_does_not_stop_it,
    callers_that_go_away_at_once_harm_neither_their_own_call_nor_a_later_one,
    a_call_inside_a_transaction_of_the_caller_lives_and_dies_with_it,
    a_failure_inside_a_transaction_of_the_caller_leaves_the_work_of_the_caller_alone,
    business_code_may_reject_because_a_statement_failed,
    business_code_that_ends_the_transaction_is_found_out_and_runs_only_once,
    business_code_that_forgets_a_transaction_of_its_own_is_told_and_leaves_nothing,
    migrating_again_keeps_what_is_recorded,
    many_processes_may_migrate_at_once,
    pruning_takes_old_steps_whole_and_leaves_young_ones_whole,
);

async fn a_business_failure_leaves_nothing_and_the_next_attempt_runs<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let failed = shop
        .barrier
        .act(&action("s"), async |tx| {
            DB::effect(tx, &action("s")).await?;
            DB::run(tx, "INSERT INTO no_such_table VALUES (1)").await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("no_such_table"), "{failed}");
    assert_eq!(Problem::from(failed).status, Some(500));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

async fn a_panic_leaves_nothing_and_the_next_attempt_runs<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let lost = shop
        .barrier
        .act(&action("s"), async |tx| -> Result<(), Refusal> {
            DB::effect(tx, &action("s")).await?;
            panic!("a bug in the business")
        })
        .await;
    assert!(matches!(lost, Err(BarrierError::Lost(_))), "{lost:?}");
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

async fn not_yet_leaves_nothing_and_the_next_attempt_runs<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let locked = shop
        .barrier
        .act(&action("s"), async |tx| -> Result<(), Refusal> {
            DB::effect(tx, &action("s")).await?;
            Err(Refusal::not_yet("order-7 is being placed", Duration::from_secs(2)))
        })
        .await
        .unwrap();
    assert_eq!((locked.status(), locked.is_recorded()), (503, false));
    assert_eq!(problem(&locked).reason(), Some("order-7 is being placed"));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

async fn a_recorded_output_of_another_type_fails_the_compensation_without_a_trace<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let misfit = shop
        .barrier
        .compensate(&compensation("s"), async |_tx, _output: u64| Ok(()))
        .await
        .unwrap_err();
    assert!(misfit.to_string().contains("expected u64"), "{misfit}");

    assert!(compensate(&shop.barrier, "s").await.unwrap().is_processed());
}

async fn a_caller_that_goes_away_in_mid_transaction_does_not_stop_it<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (barrier, enters, wait) = (shop.barrier.clone(), Arc::clone(&entered), Arc::clone(&go_on));
    let caller = tokio::spawn(async move {
        barrier
            .act(&action("s"), async move |tx| {
                DB::effect(tx, &action("s")).await?;
                enters.notify_one();
                wait.notified().await;
                Ok("done for s".to_owned())
            })
            .await
    });
    entered.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go_on.notify_one();

    // The transaction still holds its guard row, so this attempt waits for its end.
    let answer = act(&shop.barrier, "s").await.unwrap();
    assert_eq!(answer.body(), r#""done for s""#);
    assert_eq!(shop.effects("s").await, (1, 0));
}

async fn callers_that_go_away_at_once_harm_neither_their_own_call_nor_a_later_one<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let sagas: Vec<String> = (0..40).map(|nth| format!("s-{nth}")).collect();
    for saga_id in &sagas {
        let mut call = pin!(act(&shop.barrier, saga_id));
        let _polled_once =
            std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).map(drop)))
                .await;
    }
    for saga_id in &sagas {
        assert!(act(&shop.barrier, saga_id).await.unwrap().is_processed());
    }
    // Another connection sees them, so no answer was given inside a forgotten transaction.
    let other = shop.other_process().await;
    assert_eq!(DB::number(other.pool(), "SELECT count(*) FROM effect").await, 40);
}

async fn a_call_inside_a_transaction_of_the_caller_lives_and_dies_with_it<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let run = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await
    };

    let mut tx = DB::begin(shop.barrier.pool()).await;
    assert!(shop.barrier.act_in(&mut tx, &action("s"), run).await.unwrap().is_processed());
    tx.rollback().await.unwrap();
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    let mut tx = DB::begin(shop.barrier.pool()).await;
    shop.barrier.act_in(&mut tx, &action("s"), run).await.unwrap();
    let undo = async |tx: &mut DB::Connection, (): ()| -> Result<(), Refusal> {
        DB::effect(tx, &compensation("s")).await
    };
    shop.barrier.compensate_in(&mut tx, &compensation("s"), undo).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 1), 2));
}

async fn a_failure_inside_a_transaction_of_the_caller_leaves_the_work_of_the_caller_alone<
    DB: Home,
>() {
    let shop = Shop::<DB>::open().await;
    let mut tx = DB::begin(shop.barrier.pool()).await;
    DB::effect(&mut tx, &action("own work")).await.unwrap();
    let fail = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await?;
        Ok(DB::run(tx, "INSERT INTO no_such_table VALUES (1)").await?)
    };
    shop.barrier.act_in(&mut tx, &action("s"), fail).await.unwrap_err();
    let not_yet = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await?;
        Err(Refusal::not_yet("later", Duration::from_secs(1)))
    };
    let answer = shop.barrier.act_in(&mut tx, &action("s"), not_yet).await.unwrap();
    assert_eq!((answer.status(), answer.is_recorded()), (503, false));
    tx.commit().await.unwrap();
    assert_eq!(shop.effects("own work").await, (1, 0));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));
}

async fn business_code_may_reject_because_a_statement_failed<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    shop.run("CREATE UNIQUE INDEX one_effect_per_saga ON effect (saga_id)").await;
    let twice = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await?;
        DB::effect(tx, &action("s")).await.map_err(|_| Refusal::rejected("there is one already"))
    };
    let rejected = shop.barrier.act(&action("s"), twice).await.unwrap();
    assert_eq!((rejected.status(), rejected.is_recorded()), (422, true));
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), rejected);
    assert_eq!(shop.effects("s").await, (0, 0));
}

async fn business_code_that_ends_the_transaction_is_found_out_and_runs_only_once<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let commits = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await?;
        Ok(DB::run(tx, "COMMIT").await?)
    };
    let failed = shop.barrier.act(&action("s"), commits).await.unwrap_err();
    assert_eq!(Problem::from(failed).status, Some(500));
    for _ in 0..5 {
        let unanswered = act(&shop.barrier, "s").await.unwrap_err();
        assert!(matches!(unanswered, BarrierError::Unanswered { .. }), "{unanswered:?}");
        let unanswered = compensate(&shop.barrier, "s").await.unwrap_err();
        assert!(matches!(unanswered, BarrierError::Unanswered { .. }), "{unanswered:?}");
        assert!(act(&shop.barrier, "another saga").await.unwrap().is_processed());
    }
    assert_eq!(shop.effects("s").await, (1, 0));
}

async fn business_code_that_forgets_a_transaction_of_its_own_is_told_and_leaves_nothing<
    DB: Home,
>() {
    let shop = Shop::<DB>::open().await;
    let forgetful = async |tx: &mut DB::Connection| -> Result<(), Refusal> {
        DB::effect(tx, &action("s")).await?;
        for _ in 0..2 {
            std::mem::forget(tx.begin().await?);
        }
        Ok(())
    };
    let told = shop.barrier.act(&action("s"), forgetful).await.unwrap_err();
    assert!(told.to_string().contains("left a transaction open"), "{told}");
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

async fn migrating_again_keeps_what_is_recorded<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    let first: Answer = act(&shop.barrier, "s").await.unwrap();
    shop.barrier.migrate().await.unwrap();
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
}

async fn many_processes_may_migrate_at_once<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    for _ in 0..10 {
        shop.run("DROP TABLE saga_barrier").await;
        let mut migrations = JoinSet::new();
        for _ in 0..4 {
            let barrier = shop.barrier.clone();
            migrations.spawn(async move { barrier.migrate().await });
        }
        for migrated in migrations.join_all().await {
            migrated.unwrap();
        }
    }
}

async fn pruning_takes_old_steps_whole_and_leaves_young_ones_whole<DB: Home>() {
    let shop = Shop::<DB>::open().await;
    for saga_id in ["old", "mixed", "young"] {
        act(&shop.barrier, saga_id).await.unwrap();
        compensate(&shop.barrier, saga_id).await.unwrap();
    }
    shop.run(
        "UPDATE saga_barrier SET recorded_at = 1 \
         WHERE saga_id = 'old' OR (saga_id = 'mixed' AND op = 'action')",
    )
    .await;

    let pruned = shop.barrier.prune(Duration::from_secs(3600)).await.unwrap();
    assert_eq!((pruned, shop.guard_rows().await), (2, 4));
    assert_eq!(shop.barrier.prune(Duration::from_secs(3600)).await.unwrap(), 0);

    // The risk that `prune` names: the pruned action is done once more.
    assert!(act(&shop.barrier, "old").await.unwrap().is_processed());
    assert_eq!(shop.effects("old").await, (2, 1));
}
