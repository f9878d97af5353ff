//! The barrier over one connection of rusqlite: calls that arrive together share a commit.
//!
//! SQLite has one writer at a time and makes a commit durable with the same effort whether it holds
//! one call or fifty. So all calls go through one queue to one thread, `writer`, which owns the
//! connection and puts whatever queued while the last commit was in flight into the next
//! transaction, each call in a savepoint of its own. No timer is involved: a call that comes alone
//! is committed at once. `step` is what the barrier does for one call.

mod step;
mod writer;

use std::fmt;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::decision::settle;
use super::{BarrierError, Refusal, expect_op, guard};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use writer::{Call, Entry};

/// How many calls may wait for the writer; callers beyond that wait to get in line.
const QUEUE_MAX: usize = 1_024;
/// Prepared statements that are kept: those of the barrier, and room for those of the business.
const STATEMENTS_MAX: usize = 64;

const CREATE_TABLE: &str = include_str!("sqlite/create_table.sql");
const CREATE_INDEX: &str = include_str!("sqlite/create_index.sql");
const DELETE_GUARDS: &str = include_str!("sqlite/delete_guards.sql");

/// The guard of a participant's endpoints over rusqlite, with business code that is plain Rust.
///
/// It takes a connection of the participant's own database over and runs all calls there, on one
/// thread: the calls that queue while a commit is in flight share the next one, each in a savepoint.
/// On SQLite this is many times as fast as a transaction for every call, and no promise is weaker: a
/// call is answered when it is durable, and what fails takes nobody else with it.
///
/// Business code holds the only right to write while it runs, so it must be short and call nobody:
/// everybody else waits. Other processes may use the same file, with a barrier of either kind.
///
/// Cheap to clone; clones share the writer, which ends when the last one is dropped.
///
/// ```
/// use saga_participant::{Call, GroupedBarrier, Op, Refusal, SagaCall};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.db");
/// let db = rusqlite::Connection::open(path)?;
/// db.pragma_update(None, "journal_mode", "WAL")?;
/// db.pragma_update(None, "synchronous", "FULL")?; // a call that was answered survives a power cut
/// db.busy_timeout(std::time::Duration::from_secs(5))?;
/// db.execute("CREATE TABLE stock (sku TEXT PRIMARY KEY, free INTEGER NOT NULL)", ())?;
/// db.execute("INSERT INTO stock VALUES ('SKU-1', 5)", ())?;
///
/// let barrier = GroupedBarrier::start(db)?;
/// barrier.migrate().await?;
///
/// // In a handler the extractor `SagaCall` brings the identity.
/// # let identity = saga_participant::CallIdentity {
/// #     saga_id: "s-1".into(), step: "reserve-stock".into(), op: Op::Action };
/// for _ in 0..2 {
///     let answer = barrier.act(&identity, |db| {
///         let taken = db.execute("UPDATE stock SET free = free - 2 WHERE sku = 'SKU-1' AND free >= 2", ())?;
///         if taken == 0 {
///             return Err(Refusal::rejected("fewer than 2 of SKU-1 are left"));
///         }
///         Ok(2)
///     }).await?;
///     assert_eq!(answer.body(), "2"); // the second time from the guard row
/// }
///
/// let compensation = saga_participant::CallIdentity { op: Op::Compensation, ..identity };
/// barrier.compensate(&compensation, |db, taken: u32| {
///     db.execute("UPDATE stock SET free = free + $1 WHERE sku = 'SKU-1'", [taken])?;
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct GroupedBarrier {
    queue: mpsc::Sender<Entry>,
}

impl GroupedBarrier {
    /// Takes the connection over and starts the thread that writes. The barrier's table must exist:
    /// call [`migrate`](GroupedBarrier::migrate) once at start.
    ///
    /// How durable an answer is and how long a lock is waited for are settings of the connection:
    /// WAL, `synchronous = FULL` and a busy timeout of some seconds are right.
    ///
    /// # Errors
    /// [`BarrierError::Unavailable`] when the operating system refuses the thread.
    pub fn start(db: Connection) -> Result<Self, BarrierError> {
        db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("saga-barrier".into());
        thread
            .spawn(move || writer::write_on(db, entries))
            .map_err(|error| BarrierError::unavailable(format!("starting the writer: {error}")))?;
        Ok(GroupedBarrier { queue })
    }

    /// Creates the table `saga_barrier` where it does not exist yet.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn migrate(&self) -> Result<(), BarrierError> {
        self.work(|db| {
            db.execute(CREATE_TABLE, ())?;
            db.execute(CREATE_INDEX, ())?;
            Ok(())
        })
        .await
    }

    /// Runs the business code of an action, unless the guard rows have the answer already.
    ///
    /// Dropping the returned future, as a server does when its client hangs up, does not stop a call
    /// that is in line: it ends on its own, and the next attempt finds its answer.
    ///
    /// The business code may run more than once: where somebody else's call breaks the transaction
    /// that they share, it is rolled back and each call gets one of its own. All but the last run
    /// are rolled back. It must not end the transaction: commit and rollback are the barrier's.
    ///
    /// # Errors
    /// See [`BarrierError`]; nothing of this attempt has been committed then.
    pub async fn act<T, F>(
        &self,
        identity: &CallIdentity,
        mut business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize,
        F: FnMut(&mut Connection) -> Result<T, Refusal> + Send + 'static,
    {
        expect_op(identity, Op::Action)?;
        self.call(identity, move |db, _| settle(Op::Action, business(db))).await
    }

    /// Runs the business code of a compensation with the output of its action, unless there is
    /// nothing to undo or the guard rows have the answer already.
    ///
    /// Everything else is as in [`GroupedBarrier::act`].
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn compensate<O, T, F>(
        &self,
        identity: &CallIdentity,
        mut business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned,
        T: Serialize,
        F: FnMut(&mut Connection, O) -> Result<T, Refusal> + Send + 'static,
    {
        expect_op(identity, Op::Compensation)?;
        let compensated = identity.clone();
        self.call(identity, move |db, output| {
            let output = serde_json::from_str(output).map_err(|fault| {
                BarrierError::RecordedOutput { identity: compensated.clone(), fault }
            })?;
            settle(Op::Compensation, business(db, output))
        })
        .await
    }

    /// Deletes the guard rows of steps whose last call is older than `age`, in small transactions
    /// between those of the calls, and returns how many rows went. The risk and what `age` must
    /// exceed are those of `Barrier::prune`: the longest life of a saga and the longest delay of a
    /// message; 30 days is a fair start.
    ///
    /// # Errors
    /// When the database cannot be written; what was deleted before stays deleted.
    pub async fn prune(&self, age: Duration) -> Result<u64, BarrierError> {
        let oldest_kept = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let before = guard::micros_since_epoch(oldest_kept);
        let mut pruned = 0;
        loop {
            let deleted = self
                .work(move |db| db.execute(DELETE_GUARDS, (before, guard::PRUNED_STEPS_MAX)))
                .await?;
            match deleted as u64 {
                0 => return Ok(pruned),
                rows => pruned += rows,
            }
        }
    }

    async fn call(
        &self,
        identity: &CallIdentity,
        business: impl FnMut(&mut Connection, &str) -> Result<Answer, BarrierError> + Send + 'static,
    ) -> Result<Answer, BarrierError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { identity: identity.clone(), business: Box::new(business), reply };
        self.send(Entry::Call(call)).await?;
        answer.await.unwrap_or_else(|_| Err(broken_off()))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BarrierError> {
        let (reply, outcome) = oneshot::channel();
        self.send(Entry::Work(Box::new(move |db| drop(reply.send(work(db)))))).await?;
        outcome.await.map_err(|_| broken_off())?.map_err(BarrierError::database)
    }

    async fn send(&self, entry: Entry) -> Result<(), BarrierError> {
        self.queue.send(entry).await.map_err(|_| broken_off())
    }
}

impl fmt::Debug for GroupedBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupedBarrier").field("free", &self.queue.capacity()).finish()
    }
}

fn broken_off() -> BarrierError {
    BarrierError::lost("the thread that writes is gone")
}
