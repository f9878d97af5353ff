//! What the writer does with changes that are slow, impossible or faulty.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::*;
use crate::SqliteOptions;
use crate::sqlite::statement::{all, execute};

/// A writer on a fresh file with a table of numbers.
async fn writer() -> (Writer, SqliteOptions, TempDir) {
    let folder = TempDir::new().expect("a temporary folder");
    let mut options = SqliteOptions::new(folder.path().join("saga.db"));
    options.prepare().await.expect("a database");
    let db = options.connect_to_write().expect("the file opens");
    execute(&db, "CREATE TABLE number (n INTEGER PRIMARY KEY)", []).expect("made");
    let hint = Arc::new(Hint::new(options.wal()));
    let writer = Writer::start(Session::new(options.clone()), hint).expect("a thread");
    (writer, options, folder)
}

fn numbers(options: &SqliteOptions) -> Vec<i64> {
    let db = options.connect_to_read().expect("the file opens");
    let rows = all::<(i64,)>(&db, "SELECT n FROM number ORDER BY n", []).expect("a read");
    rows.into_iter().map(|(n,)| n).collect()
}

/// Inserts a number, which fails when it is there already.
struct Insert(i64);

impl Change for Insert {
    type Outcome = i64;

    fn run(&self, db: &Connection) -> Result<i64> {
        execute(db, "INSERT INTO number VALUES (?1)", [self.0])?;
        Ok(self.0)
    }
}

/// Keeps the writer busy from when it says so until it is told to go on.
struct Gate {
    entered: Arc<Notify>,
    open: Mutex<Receiver<()>>,
}

impl Change for Gate {
    type Outcome = ();

    fn run(&self, _: &Connection) -> Result<()> {
        self.entered.notify_one();
        self.open.lock().expect("nobody panics with it").recv().expect("to be told");
        Ok(())
    }
}

/// Counts how often changes have run.
struct Count(Arc<AtomicUsize>);

impl Change for Count {
    type Outcome = ();

    fn run(&self, _: &Connection) -> Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Panic;

impl Change for Panic {
    type Outcome = ();

    fn run(&self, _: &Connection) -> Result<()> {
        panic!("a fault in a change")
    }
}

/// Has a writer occupied, so that what follows queues up, until something is sent.
async fn occupied(writer: &Writer) -> Sender<()> {
    let (told, open) = channel();
    let entered = Arc::new(Notify::new());
    let gate = Gate { entered: entered.clone(), open: Mutex::new(open) };
    let busy = writer.clone();
    tokio::spawn(async move { busy.write(gate).await });
    entered.notified().await;
    told
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn changes_that_queue_up_during_a_commit_share_the_next_one() {
    let (writer, _, _folder) = writer().await;
    let gate = occupied(&writer).await;
    let (ran, mut callers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..100 {
        let (writer, change) = (writer.clone(), Count(ran.clone()));
        callers.spawn(async move { writer.write(change).await });
    }
    until(|| writer.queue.capacity() == QUEUE_MAX - 100).await;
    gate.send(()).expect("the writer waits");
    callers.join_next().await.expect("callers").expect("no panic").expect("an answer");
    assert_eq!(ran.load(Ordering::SeqCst), 100, "all have run when the first is answered");
    callers.join_all().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_made_does_not_take_the_others_of_its_batch_with_it() {
    let (writer, options, _folder) = writer().await;
    assert_eq!(writer.write(Insert(3)).await, Ok(3));
    let gate = occupied(&writer).await;
    let mut callers = JoinSet::new();
    for n in 1..=5 {
        let writer = writer.clone();
        callers.spawn(async move { (n, writer.write(Insert(n)).await) });
    }
    until(|| writer.queue.capacity() == QUEUE_MAX - 5).await;
    gate.send(()).expect("the writer waits");
    for (n, outcome) in callers.join_all().await {
        assert_eq!(outcome.is_ok(), n != 3, "{outcome:?}");
    }
    assert_eq!(numbers(&options), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_change_that_panics_hangs_nobody_and_the_writer_goes_on() {
    let (writer, options, _folder) = writer().await;
    let gate = occupied(&writer).await;
    let (first, second) = (writer.clone(), writer.clone());
    let faulty = tokio::spawn(async move { first.write(Panic).await });
    let beside = tokio::spawn(async move { second.write(Insert(1)).await.map(drop) });
    until(|| writer.queue.capacity() == QUEUE_MAX - 2).await;
    gate.send(()).expect("the writer waits");
    for caller in [faulty, beside] {
        let outcome = caller.await.expect("the panic stays with the writer");
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(numbers(&options), [0; 0], "nothing of the batch was made");
    assert_eq!(writer.write(Insert(2)).await, Ok(2));
}

#[tokio::test]
async fn a_change_whose_caller_has_gone_is_made_all_the_same() {
    let (writer, options, _folder) = writer().await;
    let gate = occupied(&writer).await;
    let gone = writer.clone();
    let caller = tokio::spawn(async move { gone.write(Insert(1)).await });
    until(|| writer.queue.capacity() == QUEUE_MAX - 1).await;
    caller.abort();
    caller.await.expect_err("the caller has gone");
    gate.send(()).expect("the writer waits");
    assert_eq!(writer.write(Insert(2)).await, Ok(2));
    assert_eq!(numbers(&options), [1, 2]);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    let (writer, options, _folder) = writer().await;
    let gate = occupied(&writer).await;
    let mut callers = JoinSet::new();
    for n in 0..QUEUE_MAX as i64 + 50 {
        let writer = writer.clone();
        callers.spawn(async move { writer.write(Insert(n)).await });
    }
    until(|| writer.queue.capacity() == 0).await;
    gate.send(()).expect("the writer waits");
    for outcome in callers.join_all().await {
        outcome.expect("an answer");
    }
    assert_eq!(numbers(&options).len(), QUEUE_MAX + 50);
}

#[test]
fn a_runtime_that_ends_does_not_take_a_change_with_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (first, second) = (runtime().expect("a runtime"), runtime().expect("a runtime"));
    let (writer, options, _folder) = first.block_on(writer());
    let gate = first.block_on(occupied(&writer));
    let (gone, rest) = (writer.clone(), writer.queue.capacity());
    first.spawn(async move { gone.write(Insert(1)).await });
    first.block_on(until(|| writer.queue.capacity() == rest - 1));
    drop(first);
    gate.send(()).expect("the writer waits");
    assert_eq!(second.block_on(writer.write(Insert(2))), Ok(2));
    assert_eq!(numbers(&options), [1, 2]);
}
