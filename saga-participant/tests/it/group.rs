//! A barrier whose calls share transactions: they do, and what breaks one harms nobody else.

use std::sync::Arc;
use std::time::Duration;

use saga_participant::{Answer, Barrier, BarrierError, Problem, Refusal};
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::postgres::{shop_behind_a_proxy, until_a_claim_waits};
use crate::proxy::AtCommit;
use crate::shop::{GROUPED, Home, Shop, act, action, compensate, compensation};

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
    IgnoreFailure,
    PutOff,
    SetSavepoint,
    GoBackToSavepoint,
    ForgetTransaction,
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
        Deed::SetSavepoint => Postgres::run(tx, "SAVEPOINT work").await?,
        Deed::GoBackToSavepoint => Postgres::run(tx, "ROLLBACK TO SAVEPOINT work").await?,
        Deed::ForgetTransaction => std::mem::forget(tx.begin().await?),
        Deed::PutOff => return Err(Refusal::not_yet("somebody holds it", Duration::from_secs(1))),
        Deed::Fail => Postgres::run(tx, "INSERT INTO no_such_table VALUES (1)").await?,
        Deed::Panic => panic!("the business code lost its head"),
        Deed::EndConnection => {
            Postgres::run(tx, "SELECT pg_terminate_backend(pg_backend_pid())").await?;
        }
        Deed::EndTransaction => Postgres::run(tx, "ROLLBACK").await?,
        Deed::IgnoreFailure => {
            Postgres::run(tx, "INSERT INTO no_such_table VALUES (1)").await.unwrap_err();
        }
    }
    Ok(format!("done for {saga_id}"))
}

/// Which call does the deed, where nothing else is said.
const MIDDLE: usize = CALLS / 2;

/// Calls that go together, because they queue up behind one that ends when all of them are there. One
/// of them does the deed.
async fn together(
    barrier: &Barrier<Postgres>,
    deed: Deed,
    doer: usize,
) -> Vec<Result<Answer, BarrierError>> {
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
        let deed = match deed {
            deed if nth == doer => deed,
            Deed::GoBackToSavepoint if nth == 0 => Deed::SetSavepoint,
            _ => Deed::Nothing,
        };
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

/// All calls but that of the doer were answered and had their effect, and that one had none.
async fn others_are_unharmed(
    shop: &Shop<Postgres>,
    answers: &[Result<Answer, BarrierError>],
    doer: usize,
) {
    for (nth, answer) in answers.iter().enumerate() {
        let saga_id = format!("s-{nth}");
        let is_done = nth != doer;
        if is_done {
            assert_eq!(answer.as_ref().unwrap().body(), format!("\"done for {saga_id}\""));
        }
        assert_eq!(shop.effects(&saga_id).await, (is_done.into(), 0), "{saga_id}");
    }
}

#[tokio::test]
async fn calls_that_arrive_together_share_a_transaction() {
    let shop = shop().await;
    for (nth, answer) in
        together(&shop.barrier, Deed::Nothing, MIDDLE).await.into_iter().enumerate()
    {
        assert_eq!(answer.unwrap().body(), format!("\"done for s-{nth}\""));
    }
    assert_eq!(transactions(&shop).await, 1);
    assert_eq!(Postgres::number(shop.barrier.pool(), "SELECT count(*) FROM effect").await, 20);
}

#[tokio::test]
async fn a_rejection_is_recorded_without_its_writes_and_the_others_go_on() {
    let shop = shop().await;
    let answers = together(&shop.barrier, Deed::Reject, MIDDLE).await;
    others_are_unharmed(&shop, &answers, MIDDLE).await;
    assert_eq!(answers[MIDDLE].as_ref().unwrap().status(), 422);
    assert_eq!((transactions(&shop).await, shop.guard_rows().await), (1, CALLS as i64 + 1));
    assert_eq!(act(&shop.barrier, "s-10").await.unwrap().status(), 422, "it is final");
}

#[tokio::test]
async fn a_failure_takes_nobody_with_it() {
    let shop = shop().await;
    let answers = together(&shop.barrier, Deed::Fail, MIDDLE).await;
    others_are_unharmed(&shop, &answers, MIDDLE).await;
    assert!(answers[MIDDLE].is_err());
    assert_eq!((transactions(&shop).await, shop.guard_rows().await), (1, CALLS as i64));
    assert!(act(&shop.barrier, "s-10").await.unwrap().is_processed(), "another try finds no trace");
}

#[tokio::test]
async fn a_savepoint_of_one_call_is_not_there_for_another() {
    let shop = shop().await;
    let answers = together(&shop.barrier, Deed::GoBackToSavepoint, MIDDLE).await;
    others_are_unharmed(&shop, &answers, MIDDLE).await;
    assert!(answers[MIDDLE].is_err());
}

#[tokio::test]
async fn a_transaction_that_one_call_forgets_to_end_fails_that_call_alone() {
    for doer in [0, MIDDLE, CALLS - 1] {
        let shop = shop().await;
        let answers = together(&shop.barrier, Deed::ForgetTransaction, doer).await;
        others_are_unharmed(&shop, &answers, doer).await;
        let told = answers.into_iter().nth(doer).unwrap().unwrap_err();
        assert!(told.to_string().contains("left a transaction open"), "{told}");
        assert_eq!(transactions(&shop).await, CALLS as i64 - 1, "each had one of its own");
    }
}

/// What its action answered cannot be read without a panic.
#[derive(Debug)]
struct Unreadable;

impl<'de> serde::Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("no deserializer survives this")
    }
}

#[tokio::test]
async fn an_output_that_panics_when_it_is_read_ends_no_other_call_and_not_the_group() {
    let shop = shop().await;
    assert!(act(&shop.barrier, "read").await.unwrap().is_processed());
    let identity = compensation("read");
    let read = async |_: &mut PgConnection, _: Unreadable| Ok(());
    let calls = async {
        tokio::join!(
            act(&shop.barrier, "before"),
            act(&shop.barrier, "beside"),
            shop.barrier.compensate(&identity, read),
            act(&shop.barrier, "behind"),
        )
    };
    let (before, beside, unreadable, behind) = calls.await;
    for answer in [before, beside, behind, act(&shop.barrier, "after").await] {
        assert!(answer.unwrap().is_processed());
    }
    assert_eq!(Problem::from(unreadable.unwrap_err()).status, Some(500));
}

#[tokio::test]
async fn whatever_breaks_the_shared_transaction_each_call_gets_one_of_its_own() {
    let deeds = [Deed::Panic, Deed::EndConnection, Deed::EndTransaction, Deed::IgnoreFailure];
    for (deed, doer) in deeds.into_iter().flat_map(|deed| [0, MIDDLE, CALLS - 1].map(|n| (deed, n)))
    {
        let shop = shop().await;
        let answers = together(&shop.barrier, deed, doer).await;
        others_are_unharmed(&shop, &answers, doer).await;
        let told = answers.into_iter().nth(doer).unwrap().unwrap_err();
        assert_eq!(Problem::from(told).status, Some(500), "{deed:?}: unknown to the engine");
        assert_eq!(transactions(&shop).await, CALLS as i64 - 1, "{deed:?}");
    }
}

#[tokio::test]
async fn several_calls_of_a_step_in_one_group_are_one_after_the_other() {
    let shop = shop().await;
    let (barrier, begun, end) =
        (shop.barrier.clone(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (running, ending) = (Arc::clone(&begun), Arc::clone(&end));
    let first = tokio::spawn(async move {
        let wait = async move |_: &mut PgConnection| {
            running.notify_one();
            ending.notified().await;
            Ok(())
        };
        barrier.act(&action("first"), wait).await
    });
    begun.notified().await;
    let calls = async {
        // Each joins the queue in this order.
        tokio::join!(
            act(&shop.barrier, "twice"),
            act(&shop.barrier, "twice"),
            compensate(&shop.barrier, "null"),
            act(&shop.barrier, "null"),
            act(&shop.barrier, "undone"),
            compensate(&shop.barrier, "undone"),
            async { end.notify_one() },
        )
    };
    let (twice, again, null, dangling, done, undone, ()) = calls.await;
    assert!(first.await.unwrap().unwrap().is_processed());
    assert_eq!((twice.unwrap(), shop.effects("twice").await), (again.unwrap(), (1, 0)));
    assert_eq!((null.unwrap().body(), dangling.unwrap().status()), ("null", 409));
    assert!(done.unwrap().is_processed() && undone.unwrap().is_processed());
    assert_eq!((shop.effects("null").await, shop.effects("undone").await), ((0, 0), (1, 1)));
    // One each for the call in front and for `twice`, two for each of the others.
    assert_eq!(shop.guard_rows().await, 6);
}

#[tokio::test]
async fn a_call_that_another_process_has_in_hand_is_waited_for_and_answered_as_there() {
    let shop = shop().await;
    let other = shop.other_process().await;
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (running, ending) = (Arc::clone(&begun), Arc::clone(&end));
    let there = tokio::spawn(async move {
        let identity = action("s-3");
        let answer = other.act(&identity, async move |tx| {
            running.notify_one();
            ending.notified().await;
            run(tx, "s-3", Deed::Nothing).await?;
            Ok("done there".to_owned())
        });
        answer.await
    });
    begun.notified().await;
    let barrier = shop.barrier.clone();
    let here = tokio::spawn(async move { together(&barrier, Deed::Nothing, MIDDLE).await });
    until_a_claim_waits(&shop).await;
    end.notify_one();
    assert!(there.await.unwrap().unwrap().is_processed());
    let answers = here.await.unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_processed()));
    assert_eq!(answers[3].as_ref().unwrap().body(), "\"done there\"");
    assert_eq!((shop.effects("s-3").await, transactions(&shop).await), ((1, 0), 2));
}

#[tokio::test]
async fn what_is_put_off_in_a_group_leaves_no_guard_row_and_what_came_before_is_answered_again() {
    let shop = shop().await;
    assert!(act(&shop.barrier, "s-3").await.unwrap().is_processed());
    let answers = together(&shop.barrier, Deed::PutOff, MIDDLE).await;
    assert_eq!(answers[MIDDLE].as_ref().unwrap().status(), 503);
    assert_eq!(answers[3].as_ref().unwrap().body(), "\"done for s-3\"");
    assert_eq!((shop.effects("s-3").await, shop.effects("s-10").await), ((1, 0), (0, 0)));
    // The call in front of them has one too.
    assert_eq!((transactions(&shop).await, shop.guard_rows().await), (1, CALLS as i64));
    assert!(act(&shop.barrier, "s-10").await.unwrap().is_processed());
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
    for (nth, answer) in together(&barrier, Deed::Nothing, MIDDLE).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().body(), format!("\"done for s-{nth}\""));
        assert_eq!(shop.effects(&format!("s-{nth}")).await, (1, 0));
    }
    let expected = if is_known { 1 } else { CALLS as i64 };
    assert_eq!(transactions(&shop).await, expected);
}

#[tokio::test]
async fn guard_rows_are_found_by_their_key_in_a_young_table_and_in_a_large_one() {
    const CLAIM: &str = include_str!("../../src/barrier/postgres/claim_guards.sql");
    const ANSWER: &str = include_str!("../../src/barrier/postgres/answer_guards.sql");
    let shop = shop().await;
    let mut db = shop.barrier.pool().acquire().await.unwrap();
    let statements = [
        format!("PREPARE claim (text[], text[], text[], int4, int8) AS {CLAIM}"),
        format!("PREPARE answer (text[], text[], text[], int4[], text[], int8) AS {ANSWER}"),
        "SET plan_cache_mode = force_generic_plan".to_owned(),
    ];
    for statement in statements {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *db).await.unwrap();
    }
    let fill = "INSERT INTO saga_barrier SELECT 's-' || n, 'step', 'action', 200, '1', n \
                FROM generate_series(1, 20000) AS n";
    for prepare in ["SELECT 1", fill, "ANALYZE saga_barrier"] {
        Postgres::run(&mut db, prepare).await.unwrap();
        for execute in [
            "EXPLAIN EXECUTE claim ('{a}', '{b}', '{action}', 0, 1)",
            "EXPLAIN EXECUTE answer ('{a}', '{b}', '{action}', '{200}', '{1}', 1)",
        ] {
            let plan: Vec<(String,)> = sqlx::query_as(execute).fetch_all(&mut *db).await.unwrap();
            let plan: Vec<String> = plan.into_iter().map(|(line,)| line).collect();
            let walks = plan.iter().any(|line| line.contains("Seq Scan on saga_barrier"));
            assert!(!walks, "after {prepare}: {plan:#?}");
        }
    }
}
