//! The barrier over rusqlite: the anomalies, shared transactions, and whatever breaks one.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::Connection;
use saga_participant::problem::DANGLING_ACTION;
use saga_participant::{Answer, BarrierError, CallIdentity, GroupedBarrier, Op, Problem, Refusal};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A participant that counts what it does for each saga.
struct Shop {
    barrier: GroupedBarrier,
    folder: TempDir,
}

impl Shop {
    async fn open() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let db = connect(folder.path());
        db.execute("CREATE TABLE effect (saga_id TEXT NOT NULL, op TEXT NOT NULL)", ()).unwrap();
        let barrier = GroupedBarrier::start(db).unwrap();
        barrier.migrate().await.unwrap();
        Shop { barrier, folder }
    }

    /// Another connection, as another process has it.
    fn outside(&self) -> Connection {
        connect(self.folder.path())
    }

    fn number(&self, query: &str) -> i64 {
        self.outside().query_row(query, (), |row| row.get(0)).unwrap()
    }

    /// How many effects the calls of `saga_id` had: of its action, of its compensation.
    fn effects(&self, saga_id: &str) -> (i64, i64) {
        let count = |op: &str| {
            let query = "SELECT count(*) FROM effect WHERE saga_id = $1 AND op = $2";
            self.outside().query_row(query, (saga_id, op), |row| row.get(0)).unwrap()
        };
        (count("action"), count("compensation"))
    }

    fn guard_rows(&self) -> i64 {
        self.number("SELECT count(*) FROM saga_barrier")
    }
}

fn connect(folder: &Path) -> Connection {
    let db = Connection::open(folder.join("shop.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db
}

fn identity(saga_id: &str, op: Op) -> CallIdentity {
    CallIdentity { saga_id: saga_id.to_owned(), step: "reserve".to_owned(), op }
}

fn effect(db: &Connection, identity: &CallIdentity) -> Result<(), Refusal> {
    let row = (&identity.saga_id, identity.op.as_str());
    db.execute("INSERT INTO effect (saga_id, op) VALUES ($1, $2)", row)?;
    Ok(())
}

async fn act(barrier: &GroupedBarrier, saga_id: &str) -> Result<Answer, BarrierError> {
    let call = identity(saga_id, Op::Action);
    let of = call.clone();
    let business = move |db: &mut Connection| {
        effect(db, &of)?;
        Ok(format!("done for {}", of.saga_id))
    };
    barrier.act(&call, business).await
}

async fn compensate(barrier: &GroupedBarrier, saga_id: &str) -> Result<Answer, BarrierError> {
    let call = identity(saga_id, Op::Compensation);
    let of = call.clone();
    let business = move |db: &mut Connection, output: String| {
        assert_eq!(output, format!("done for {}", of.saga_id));
        effect(db, &of)
    };
    barrier.compensate(&call, business).await
}

/// Keeps the writer busy until the returned sender is dropped, so that calls queue meanwhile and
/// share the next transaction.
async fn hold(barrier: &GroupedBarrier) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel::<()>();
    let (entered, enters) = tokio::sync::oneshot::channel();
    let (barrier, mut entered) = (barrier.clone(), Some(entered));
    tokio::spawn(async move {
        let business = move |_: &mut Connection| -> Result<(), Refusal> {
            entered.take().map(|entered| entered.send(()));
            let _ = wait.recv();
            Err(Refusal::not_yet("held", Duration::ZERO))
        };
        barrier.act(&identity("hold", Op::Action), business).await
    });
    enters.await.unwrap();
    go_on
}

/// Polls each call once, so that all are in line in this order, and lets the writer go on.
async fn in_one_transaction(
    shop: &Shop,
    calls: Vec<futures::Call>,
) -> Vec<Result<Answer, BarrierError>> {
    let held = hold(&shop.barrier).await;
    let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
    let mut running = JoinSet::new();
    for (nth, call) in calls.iter_mut().enumerate() {
        let mut call = call.take().unwrap();
        let answered = futures::poll_once(&mut call).await;
        assert!(answered.is_none(), "the writer is held");
        running.spawn(async move { (nth, call.await) });
    }
    drop(held);
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(nth, _)| *nth);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

mod futures {
    use std::pin::Pin;
    use std::task::Poll;

    use super::{Answer, BarrierError};

    pub(super) type Call = Pin<Box<dyn Future<Output = Result<Answer, BarrierError>> + Send>>;

    pub(super) async fn poll_once(call: &mut Call) -> Option<Result<Answer, BarrierError>> {
        std::future::poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}

fn acting(shop: &Shop, saga_id: &'static str) -> futures::Call {
    let barrier = shop.barrier.clone();
    Box::pin(async move { act(&barrier, saga_id).await })
}

/// An action that has its effect and then does `what`.
fn acting_and(
    shop: &Shop,
    saga_id: &'static str,
    mut what: impl FnMut(&mut Connection) -> Result<(), Refusal> + Send + 'static,
) -> futures::Call {
    let barrier = shop.barrier.clone();
    Box::pin(async move {
        let call = identity(saga_id, Op::Action);
        let of = call.clone();
        let business = move |db: &mut Connection| {
            effect(db, &of)?;
            what(db)
        };
        barrier.act(&call, business).await
    })
}

#[tokio::test]
async fn a_repeated_call_gets_the_first_answer_byte_for_byte_and_has_no_second_effect() {
    let shop = Shop::open().await;
    let first = act(&shop.barrier, "s").await.unwrap();
    assert_eq!(first.body(), r#""done for s""#);
    assert!(first.is_processed() && first.is_recorded());
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
    let undone = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!(compensate(&shop.barrier, "s").await.unwrap(), undone);
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
    assert_eq!(shop.effects("s"), (1, 1));
}

#[tokio::test]
async fn a_compensation_before_its_action_does_nothing_and_the_late_action_is_refused() {
    let shop = Shop::open().await;
    let undone = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!((undone.status(), undone.body(), undone.is_recorded()), (200, "null", true));
    for _ in 0..2 {
        let dangling = act(&shop.barrier, "s").await.unwrap();
        assert_eq!((dangling.status(), dangling.is_recorded()), (409, true));
        let problem: Problem = serde_json::from_str(dangling.body()).unwrap();
        assert_eq!(problem.kind.as_deref(), Some(DANGLING_ACTION));
    }
    assert_eq!(compensate(&shop.barrier, "s").await.unwrap(), undone);
    assert_eq!((shop.effects("s"), shop.guard_rows()), ((0, 0), 2));
}

#[tokio::test]
async fn the_rejection_of_an_action_leaves_no_effect_and_is_final() {
    let shop = Shop::open().await;
    let reject = |_: &mut Connection| Err(Refusal::rejected("out of stock"));
    let first = acting_and(&shop, "s", reject).await.unwrap();
    assert_eq!((first.status(), first.is_recorded()), (422, true));
    assert_eq!(act(&shop.barrier, "s").await.unwrap(), first);
    let undone = compensate(&shop.barrier, "s").await.unwrap();
    assert_eq!((undone.status(), undone.body()), (200, "null"));
    assert_eq!(shop.effects("s"), (0, 0));
}

#[tokio::test]
async fn the_rejection_of_a_compensation_is_not_recorded_so_that_it_can_succeed_later() {
    let shop = Shop::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let reject = |_: &mut Connection, _: String| -> Result<(), Refusal> {
        Err(Refusal::rejected("the parcel is on its way"))
    };
    let call = identity("s", Op::Compensation);
    let refused = shop.barrier.compensate(&call, reject).await.unwrap();
    assert_eq!((refused.status(), refused.is_recorded()), (422, false));
    assert!(compensate(&shop.barrier, "s").await.unwrap().is_processed());
    assert_eq!(shop.effects("s"), (1, 1));
}

#[tokio::test]
async fn not_yet_and_a_failure_leave_nothing_and_the_next_attempt_runs() {
    let shop = Shop::open().await;
    let later = |_: &mut Connection| Err(Refusal::not_yet("later", Duration::from_secs(2)));
    let answer = acting_and(&shop, "s", later).await.unwrap();
    assert_eq!((answer.status(), answer.is_recorded()), (503, false));
    let fail =
        |db: &mut Connection| Ok(db.execute("INSERT INTO no_table VALUES (1)", ()).map(drop)?);
    let failed = acting_and(&shop, "s", fail).await.unwrap_err();
    assert!(failed.to_string().contains("no_table"), "{failed}");
    assert_eq!((shop.effects("s"), shop.guard_rows()), ((0, 0), 0));
    assert!(act(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_recorded_output_of_another_type_fails_the_compensation_without_a_trace() {
    let shop = Shop::open().await;
    act(&shop.barrier, "s").await.unwrap();
    let call = identity("s", Op::Compensation);
    let misfit = shop.barrier.compensate(&call, |_, _: u64| Ok(())).await.unwrap_err();
    assert!(misfit.to_string().contains("expected u64"), "{misfit}");
    assert!(compensate(&shop.barrier, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_call_at_the_endpoint_of_the_other_op_is_refused_without_a_trace() {
    let shop = Shop::open().await;
    let at_action = shop.barrier.act(&identity("s", Op::Compensation), |_| Ok(())).await;
    assert!(matches!(at_action, Err(BarrierError::WrongOp { .. })));
    let call = identity("s", Op::Action);
    let at_compensation = shop.barrier.compensate(&call, |_, (): ()| Ok(())).await;
    assert!(matches!(at_compensation, Err(BarrierError::WrongOp { .. })));
    assert_eq!(shop.guard_rows(), 0);
}

#[tokio::test]
async fn calls_that_queue_behind_a_commit_share_the_next_one() {
    let shop = Shop::open().await;
    let (inside, outside) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(9)));
    let (seen_inside, seen_outside) = (Arc::clone(&inside), Arc::clone(&outside));
    let other = shop.outside();
    let last = acting_and(&shop, "c", move |db| {
        let count = |db: &Connection| {
            db.query_row("SELECT count(*) FROM effect", (), |row| row.get::<_, i64>(0))
        };
        seen_inside.store(count(db)?, Ordering::SeqCst);
        seen_outside.store(count(&other)?, Ordering::SeqCst);
        Ok(())
    });
    let calls = vec![acting(&shop, "a"), acting(&shop, "b"), last];
    for answer in in_one_transaction(&shop, calls).await {
        assert!(answer.unwrap().is_processed());
    }
    // The third call saw itself and the two before it, which nobody outside could see yet.
    assert_eq!((inside.load(Ordering::SeqCst), outside.load(Ordering::SeqCst)), (3, 0));
    assert_eq!((shop.effects("a"), shop.effects("b"), shop.effects("c")), ((1, 0), (1, 0), (1, 0)));
}

#[tokio::test]
async fn the_failures_of_one_call_leave_the_others_of_its_transaction_alone() {
    let shop = Shop::open().await;
    let calls = vec![
        acting(&shop, "a"),
        acting_and(&shop, "rejected", |_| Err(Refusal::rejected("no"))),
        acting_and(&shop, "later", |_| Err(Refusal::not_yet("later", Duration::ZERO))),
        acting_and(&shop, "failed", |db| Ok(db.execute("NONSENSE", ()).map(drop)?)),
        acting_and(&shop, "panicked", |_| panic!("a bug in the business")),
        acting_and(&shop, "rolled back", |db| Ok(db.execute("ROLLBACK", ()).map(drop)?)),
        acting(&shop, "b"),
        acting(&shop, "a"),
    ];
    let [a, rejected, later, failed, panicked, rolled_back, b, again] =
        <[_; 8]>::try_from(in_one_transaction(&shop, calls).await).unwrap();
    assert_eq!(a.as_ref().unwrap(), &again.unwrap());
    assert!(a.unwrap().is_processed() && b.unwrap().is_processed());
    assert_eq!(rejected.unwrap().status(), 422);
    assert_eq!(later.unwrap().status(), 503);
    assert!(matches!(failed, Err(BarrierError::Business(_))), "{failed:?}");
    assert!(matches!(panicked, Err(BarrierError::Lost(_))), "{panicked:?}");
    assert!(panicked.unwrap_err().to_string().contains("a bug in the business"));
    assert!(matches!(rolled_back, Err(BarrierError::Database(_))), "{rolled_back:?}");
    assert_eq!((shop.effects("a"), shop.effects("b")), ((1, 0), (1, 0)));
    assert_eq!(shop.number("SELECT count(*) FROM effect"), 2);
    // Of `a`, `b` and the rejection; the others may be tried again.
    assert_eq!(shop.guard_rows(), 3);
    assert!(act(&shop.barrier, "panicked").await.unwrap().is_processed());
}

#[tokio::test]
async fn business_code_that_commits_is_found_out_and_nobody_beside_it_is_done_twice() {
    let shop = Shop::open().await;
    let calls = vec![
        acting(&shop, "a"),
        acting_and(&shop, "commits", |db| Ok(db.execute("COMMIT", ()).map(drop)?)),
        acting_and(&shop, "goes on", |db| Ok(db.execute_batch("COMMIT; BEGIN")?)),
        acting(&shop, "b"),
    ];
    let [a, commits, goes_on, b] =
        <[_; 4]>::try_from(in_one_transaction(&shop, calls).await).unwrap();
    assert!(a.unwrap().is_processed() && b.unwrap().is_processed());
    assert_eq!(Problem::from(commits.unwrap_err()).status, Some(500));
    assert_eq!(Problem::from(goes_on.unwrap_err()).status, Some(500));
    for saga_id in ["commits", "goes on"] {
        for _ in 0..3 {
            let unanswered = act(&shop.barrier, saga_id).await.unwrap_err();
            assert!(matches!(unanswered, BarrierError::Unanswered { .. }), "{unanswered:?}");
            let unanswered = compensate(&shop.barrier, saga_id).await.unwrap_err();
            assert!(matches!(unanswered, BarrierError::Unanswered { .. }), "{unanswered:?}");
        }
        assert_eq!(shop.effects(saga_id), (1, 0));
    }
    assert_eq!((shop.effects("a"), shop.effects("b")), ((1, 0), (1, 0)));
}

#[tokio::test]
async fn a_database_that_stays_locked_is_answered_with_not_yet() {
    let shop = Shop::open().await;
    let impatient = shop.outside();
    impatient.busy_timeout(Duration::ZERO).unwrap();
    let impatient = GroupedBarrier::start(impatient).unwrap();
    let lock = shop.outside();
    lock.execute("BEGIN IMMEDIATE", ()).unwrap();
    let busy = act(&impatient, "s").await.unwrap_err();
    assert!(matches!(busy, BarrierError::Unavailable(_)), "{busy:?}");
    assert_eq!(Problem::from(busy).status, Some(503));
    lock.execute("ROLLBACK", ()).unwrap();
    assert!(act(&impatient, "s").await.unwrap().is_processed());
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_call() {
    let shop = Shop::open().await;
    let held = hold(&shop.barrier).await;
    let mut call = acting(&shop, "s");
    assert!(futures::poll_once(&mut call).await.is_none());
    drop(call);
    drop(held);
    assert_eq!(act(&shop.barrier, "s").await.unwrap().body(), r#""done for s""#);
    assert_eq!(shop.effects("s"), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn actions_and_compensations_of_two_processes_at_once_never_leave_half_of_a_step() {
    let shop = Shop::open().await;
    let other = GroupedBarrier::start(shop.outside()).unwrap();
    let mut calls = JoinSet::new();
    for nth in 0..60 {
        for barrier in [&shop.barrier, &other] {
            for op in [Op::Action, Op::Compensation] {
                let (barrier, saga_id) = (barrier.clone(), format!("s-{nth}"));
                calls.spawn(async move {
                    match op {
                        Op::Action => act(&barrier, &saga_id).await.unwrap(),
                        Op::Compensation => compensate(&barrier, &saga_id).await.unwrap(),
                    };
                });
            }
        }
    }
    calls.join_all().await;
    for nth in 0..60 {
        let (done, undone) = shop.effects(&format!("s-{nth}"));
        assert!(done <= 1 && done == undone, "s-{nth}: {done} done, {undone} undone");
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn both_kinds_of_barrier_on_one_file_know_each_others_calls() {
    use saga_participant::Barrier;
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

    let shop = Shop::open().await;
    let file = SqliteConnectOptions::new().filename(shop.folder.path().join("shop.db"));
    let pooled = Barrier::<sqlx::Sqlite>::new(SqlitePool::connect_with(file).await.unwrap());
    let first = act(&shop.barrier, "s").await.unwrap();
    let again = pooled
        .act(&identity("s", Op::Action), async |_| -> Result<(), Refusal> { panic!("not again") })
        .await
        .unwrap();
    assert_eq!(again, first);
    let undone = pooled
        .compensate(&identity("s", Op::Compensation), async |_, output: String| Ok(output))
        .await
        .unwrap();
    assert_eq!(compensate(&shop.barrier, "s").await.unwrap(), undone);
    assert_eq!(shop.effects("s"), (1, 0));
}

#[tokio::test]
async fn pruning_takes_old_steps_whole_and_leaves_young_ones_whole() {
    let shop = Shop::open().await;
    for saga_id in ["old", "mixed", "young"] {
        act(&shop.barrier, saga_id).await.unwrap();
        compensate(&shop.barrier, saga_id).await.unwrap();
    }
    let age = "UPDATE saga_barrier SET recorded_at = 1 \
         WHERE saga_id = 'old' OR (saga_id = 'mixed' AND op = 'action')";
    shop.outside().execute(age, ()).unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!((shop.barrier.prune(hour).await.unwrap(), shop.guard_rows()), (2, 4));
    assert_eq!(shop.barrier.prune(hour).await.unwrap(), 0);
    shop.barrier.migrate().await.unwrap();
    assert_eq!(shop.guard_rows(), 4);
}
