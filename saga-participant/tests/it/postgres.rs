//! Where the barrier's PostgreSQL databases are, and what only PostgreSQL does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use saga_participant::{Answer, Barrier, BarrierError, Problem, Refusal};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres};
use throwaway_postgres::{Cluster, Settings};
use tokio::sync::{Barrier as StartingLine, Notify};
use tokio::task::JoinSet;

use crate::proxy::{AtCommit, Proxy};
use crate::shop::{Home, Shop, act, action, compensate, home};

home!(
    Postgres,
    String,
    "BEGIN",
    || throwaway_postgres::fresh_database().unwrap(),
    async |url: &String| pool(url.parse().unwrap()).await
);

async fn pool(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(16).connect_with(options).await.unwrap()
}

/// An action of the saga `s` that counts its runs and lets the database fail the first of them.
async fn act_and_fail_first(shop: &Shop<Postgres>, failures: u32, failure: &'static str) -> Runs {
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    let answer = shop
        .barrier
        .act(&action("s"), async move |tx| {
            Postgres::effect(tx, &action("s")).await?;
            if count.fetch_add(1, Ordering::SeqCst) < failures {
                Postgres::run(tx, failure).await?;
            }
            Ok("done for s".to_owned())
        })
        .await;
    Runs { answer, runs: runs.load(Ordering::SeqCst) }
}

struct Runs {
    answer: Result<Answer, BarrierError>,
    runs: u32,
}

#[tokio::test]
async fn a_serialization_failure_is_run_again_until_it_passes() {
    let shop = Shop::<Postgres>::open().await;
    let failure = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
    let Runs { answer, runs } = act_and_fail_first(&shop, 3, failure).await;
    assert!(answer.unwrap().is_processed());
    assert_eq!((runs, shop.effects("s").await), (4, (1, 0)));
}

#[tokio::test]
async fn a_serialization_failure_without_end_is_told_and_leaves_nothing() {
    let shop = Shop::<Postgres>::open().await;
    let failure = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
    let Runs { answer, runs } = act_and_fail_first(&shop, u32::MAX, failure).await;
    assert_eq!(Problem::from(answer.unwrap_err()).status, Some(500));
    assert_eq!((runs, shop.effects("s").await, shop.guard_rows().await), (5, (0, 0), 0));
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_replaced_and_the_call_run_again() {
    let shop = Shop::<Postgres>::open().await;
    let failure = "SELECT pg_terminate_backend(pg_backend_pid())";
    let Runs { answer, runs } = act_and_fail_first(&shop, 2, failure).await;
    assert!(answer.unwrap().is_processed());
    assert_eq!((runs, shop.effects("s").await), (3, (1, 0)));
}

#[tokio::test]
async fn a_failure_at_the_commit_is_told_and_leaves_nothing() {
    let shop = Shop::<Postgres>::open().await;
    shop.run(
        "ALTER TABLE effect ADD CONSTRAINT one UNIQUE (saga_id) DEFERRABLE INITIALLY DEFERRED",
    )
    .await;
    let failure = "INSERT INTO effect (saga_id, op) VALUES ('s', 'action')";
    let Runs { answer, runs } = act_and_fail_first(&shop, 1, failure).await;
    let failed = answer.unwrap_err();
    assert!(matches!(failed, BarrierError::Database(_)), "{failed:?}");
    assert_eq!((runs, shop.effects("s").await, shop.guard_rows().await), (1, (0, 0), 0));
}

#[tokio::test]
async fn business_code_that_ignores_a_failed_statement_is_not_taken_for_a_success() {
    let shop = Shop::<Postgres>::open().await;
    let careless = async |tx: &mut PgConnection| -> Result<(), Refusal> {
        Postgres::effect(tx, &action("s")).await?;
        let _ignored = Postgres::run(tx, "INSERT INTO no_such_table VALUES (1)").await;
        Ok(())
    };
    let failed = shop.barrier.act(&action("s"), careless).await.unwrap_err();
    assert_eq!(Problem::from(failed).status, Some(500));
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((0, 0), 0));

    // Nor does it harm a transaction of the caller, whose COMMIT would be a silent ROLLBACK.
    let mut tx = shop.barrier.pool().begin().await.unwrap();
    Postgres::effect(&mut tx, &action("own work")).await.unwrap();
    shop.barrier.act_in(&mut tx, &action("s"), careless).await.unwrap_err();
    tx.commit().await.unwrap();
    assert_eq!((shop.effects("own work").await, shop.effects("s").await), ((1, 0), (0, 0)));
    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn two_actions_that_deadlock_both_succeed() {
    let shop = Shop::<Postgres>::open().await;
    shop.run("CREATE TABLE stock (sku INTEGER PRIMARY KEY, free INTEGER NOT NULL)").await;
    shop.run("INSERT INTO stock VALUES (1, 10), (2, 10)").await;
    const TAKE: [&str; 2] = [
        "UPDATE stock SET free = free - 1 WHERE sku = 1",
        "UPDATE stock SET free = free - 1 WHERE sku = 2",
    ];
    let line = Arc::new(StartingLine::new(2));
    let mut calls = JoinSet::new();
    for nth in [0, 1] {
        let (barrier, line) = (shop.barrier.clone(), Arc::clone(&line));
        let is_first_run = Arc::new(AtomicU32::new(0));
        calls.spawn(async move {
            let identity = action(&format!("s-{nth}"));
            barrier
                .act(&identity, async move |tx| {
                    Postgres::run(tx, TAKE[nth]).await?;
                    if is_first_run.fetch_add(1, Ordering::SeqCst) == 0 {
                        line.wait().await;
                    }
                    Ok(Postgres::run(tx, TAKE[1 - nth]).await?)
                })
                .await
        });
    }
    for answer in calls.join_all().await {
        assert!(answer.unwrap().is_processed());
    }
    let left = Postgres::number(shop.barrier.pool(), "SELECT sum(free) FROM stock").await;
    assert_eq!(left, 16);
}

#[tokio::test]
async fn an_attempt_beside_one_that_does_not_end_is_told_not_yet() {
    let shop = Shop::<Postgres>::open().await;
    let mut holder = shop.barrier.pool().begin().await.unwrap();
    let run = async |tx: &mut PgConnection| Postgres::effect(tx, &action("s")).await;
    shop.barrier.act_in(&mut holder, &action("s"), run).await.unwrap();

    let (again, undo) = tokio::join!(act(&shop.barrier, "s"), compensate(&shop.barrier, "s"));
    for busy in [again.unwrap_err(), undo.unwrap_err()] {
        assert!(matches!(busy, BarrierError::Unavailable(_)), "{busy:?}");
        assert_eq!(Problem::from(busy).status, Some(503));
    }
    holder.rollback().await.unwrap();
    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

/// A shop whose barrier is asked through a proxy.
pub(crate) async fn shop_behind_a_proxy() -> (Shop<Postgres>, Proxy, Barrier<Postgres>) {
    let shop = Shop::<Postgres>::open().await;
    let options = shop.barrier.pool().connect_options().as_ref().clone();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let proxy = Proxy::before(&server).await;
    let options = options.host("127.0.0.1").port(proxy.address.port());
    // Without the pool's own test of idle connections, which waits on dead ones for ever.
    let pool = PgPoolOptions::new().max_connections(2).test_before_acquire(false);
    let barrier = Barrier::new(pool.connect_with(options).await.unwrap());
    (shop, proxy, barrier)
}

#[tokio::test]
async fn a_commit_that_never_arrives_is_found_out_and_done_again() {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    proxy.break_next_commit(AtCommit::Lose);
    assert!(act(&barrier, "s").await.unwrap().is_processed());
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 0), 1));

    proxy.break_next_commit(AtCommit::Lose);
    assert!(compensate(&barrier, "s").await.unwrap().is_processed());
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 1), 2));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_out_and_not_done_again() {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    proxy.break_next_commit(AtCommit::LoseAnswer);
    assert_eq!(act(&barrier, "s").await.unwrap().body(), r#""done for s""#);
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 0), 1));

    proxy.break_next_commit(AtCommit::LoseAnswer);
    assert!(compensate(&barrier, "s").await.unwrap().is_processed());
    assert_eq!((shop.effects("s").await, shop.guard_rows().await), ((1, 1), 2));
}

#[tokio::test]
async fn a_commit_that_arrives_after_all_is_waited_for() {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    let arrive = Arc::new(Notify::new());
    proxy.break_next_commit(AtCommit::Hold(Arc::clone(&arrive)));
    let call = tokio::spawn(async move { act(&barrier, "s").await });
    until_a_claim_waits(&shop).await;
    arrive.notify_one();
    assert!(call.await.unwrap().unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

#[tokio::test]
async fn a_commit_that_stays_in_doubt_is_never_told_as_not_done() {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    let arrive = Arc::new(Notify::new());
    proxy.break_next_commit(AtCommit::Hold(Arc::clone(&arrive)));
    let in_doubt = act(&barrier, "s").await.unwrap_err();
    assert_eq!(Problem::from(in_doubt).status, Some(500), "unknown to the engine");
    arrive.notify_one();
    assert!(act(&barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s").await, (1, 0));
}

pub(crate) async fn until_a_claim_waits(shop: &Shop<Postgres>) {
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while Postgres::number(shop.barrier.pool(), waiting).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_that_have_gone_silent_are_given_up_and_replaced() {
    let (shop, proxy, barrier) = shop_behind_a_proxy().await;
    let line = Arc::new(StartingLine::new(2));
    let connect_both = |nth: usize| {
        let (barrier, line) = (barrier.clone(), Arc::clone(&line));
        async move {
            let identity = action(&format!("warm-{nth}"));
            let wait = async move |_tx: &mut PgConnection| -> Result<(), Refusal> {
                line.wait().await;
                Ok(())
            };
            barrier.act(&identity, wait).await.unwrap()
        }
    };
    tokio::join!(connect_both(0), connect_both(1));
    while barrier.pool().num_idle() < 2 {
        tokio::task::yield_now().await;
    }

    proxy.silence_all();
    let (first, second) = tokio::join!(act(&barrier, "s"), act(&barrier, "t"));
    for saga_id in ["s", "t"] {
        assert!(act(&barrier, saga_id).await.unwrap().is_processed());
        assert_eq!(shop.effects(saga_id).await, (1, 0));
    }
    for silent in [first.unwrap_err(), second.unwrap_err()] {
        assert!(matches!(silent, BarrierError::OutOfTime), "{silent:?}");
        assert_eq!(Problem::from(silent).status, Some(500), "unknown to the engine");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_crashes_under_load_leaves_every_call_done_once_and_answered_alike() {
    let mut cluster = Cluster::start(&Settings::default()).unwrap();
    let options: PgConnectOptions = cluster.create_database("shop").unwrap().parse().unwrap();
    let barrier = Barrier::new(pool(options).await);
    barrier.migrate().await.unwrap();
    let mut db = barrier.pool().acquire().await.unwrap();
    Postgres::run(&mut db, "CREATE TABLE effect (saga_id TEXT NOT NULL, op TEXT NOT NULL)")
        .await
        .unwrap();
    drop(db);

    let (mut sagas, answered) = (JoinSet::new(), Arc::new(Notify::new()));
    for nth in 0..40 {
        let (barrier, answered) = (barrier.clone(), Arc::clone(&answered));
        sagas.spawn(async move {
            let mut undone = Vec::new();
            for turn in 0..20 {
                let saga_id = format!("s-{nth}-{turn}");
                let first = act(&barrier, &saga_id).await;
                answered.notify_one();
                let undo = compensate(&barrier, &saga_id).await;
                undone.push((saga_id, first, undo));
            }
            undone
        });
    }
    for _ in 0..3 {
        for _ in 0..20 {
            answered.notified().await;
        }
        tokio::task::block_in_place(|| {
            cluster.crash().unwrap();
            // Processes of the killed server may still be on their way out, and hinder the new one.
            cluster.restart().or_else(|_| cluster.restart()).unwrap();
        });
    }
    for (saga_id, first, undo) in sagas.join_all().await.into_iter().flatten() {
        let (again, undo_again) =
            (act(&barrier, &saga_id).await.unwrap(), compensate(&barrier, &saga_id).await.unwrap());
        assert!(first.is_err() || first.unwrap() == again, "{saga_id}");
        assert!(undo.is_err() || undo.unwrap() == undo_again, "{saga_id}");
        let (done, undone) = Postgres::effects(barrier.pool(), &saga_id).await;
        assert_eq!((done, undone), if again.is_processed() { (1, 1) } else { (0, 0) }, "{saga_id}");
    }
}
