//! The barrier: one guard row per call, written in the participant's own transaction.
//!
//! Messages are repeated, overtake each other and arrive late. With a guard row in the same
//! transaction as the business change a participant bears all of it:
//!
//! | what arrives | what the barrier does | what it answers |
//! | --- | --- | --- |
//! | a call for the first time | runs the business code | its output, or its rejection; recorded |
//! | a call again (*duplicate*) | nothing | the recorded first answer, byte for byte |
//! | a compensation before its action (*null compensation*) | writes both guard rows | 200 with `null`; recorded |
//! | an action after its compensation (*dangling action*) | nothing | 409, type `dangling-action`; recorded |
//! | a compensation of a rejected action | nothing | 200 with `null`; recorded |
//!
//! What business code may say beside success is a [`Refusal`].
//!
//! A call first *claims* its guard row, by inserting it without an answer: of calls that arrive at
//! the same instant one goes on and the others wait at the row for its end. A compensation claims
//! the row of its action as well, and before its own, so the two of a step meet at one row whoever
//! is first. `decision` says what follows from the rows, `transaction` runs it; `sqlite` and
//! `postgres` hold only what differs between the databases.

mod decision;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction;

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Database, Pool};

use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use crate::problem::{self, Problem};

pub use rows::GuardRows;

/// The guard of a participant's endpoints, over the pool of the participant's own database.
///
/// The business change and the guard row are one transaction, so the barrier must be given the
/// database that the business code writes. Cheap to clone; clones share the pool.
///
/// # PostgreSQL
/// The barrier's own transactions are `READ COMMITTED` and short-lived: the server ends one that
/// waits 5 s for a lock, runs a statement for 8 s or idles for 8 s, and after 10 s the connection
/// is given up. Of a pool the barrier wants `test_before_acquire(false)`: it replaces a broken
/// connection itself, while the pool's test waits for ever on one that has gone silent.
pub struct Barrier<DB: Database> {
    pool: Pool<DB>,
}

impl<DB: Database> Barrier<DB> {
    /// A barrier in the database of `pool`. Its table must exist: call `migrate` once at start.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Barrier { pool }
    }

    /// The pool that the barrier opens its transactions on.
    #[must_use]
    pub fn pool(&self) -> &Pool<DB> {
        &self.pool
    }
}

impl<DB: GuardRows> Barrier<DB> {
    /// Creates the table `saga_barrier` where it does not exist yet.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn migrate(&self) -> Result<(), BarrierError> {
        let pool = self.pool.clone();
        transaction::to_the_end(async move { rows::create_table(&pool).await }).await
    }

    /// Runs the business code of an action, unless the guard rows have the answer already.
    ///
    /// The whole transaction runs in a task of its own. Dropping the returned future, as a server
    /// does when its client hangs up, does not stop it half-way: it ends on its own, and the next
    /// attempt finds its answer.
    ///
    /// The business code is `Clone` because the database may take a transaction back and ask for
    /// it again (a deadlock, a serialization failure), and because the way to learn what became
    /// of a commit that was not answered is to try once more. All but the last run are rolled back.
    ///
    /// # Errors
    /// See [`BarrierError`]; nothing of this attempt has been committed, except perhaps where
    /// [`BarrierError::Database`] reports a failed commit.
    pub async fn act<T, F>(
        &self,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut DB::Connection) -> Result<T, Refusal>
            + for<'c> Business<'c, DB::Connection, (), T>
            + Clone
            + Send
            + 'static,
    {
        expect_op(identity, Op::Action)?;
        transaction::own::<DB, (), T, F>(self.pool.clone(), identity.clone(), business).await
    }

    /// Runs the business code of a compensation with the output of its action, unless there is
    /// nothing to undo or the guard rows have the answer already.
    ///
    /// Everything else is as in [`Barrier::act`].
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn compensate<O, T, F>(
        &self,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned + Send + 'static,
        T: Serialize + Send + 'static,
        F: AsyncFnOnce(&mut DB::Connection, O) -> Result<T, Refusal>
            + for<'c> Business<'c, DB::Connection, (O,), T>
            + Clone
            + Send
            + 'static,
    {
        expect_op(identity, Op::Compensation)?;
        transaction::own::<DB, (O,), T, F>(self.pool.clone(), identity.clone(), business).await
    }

    /// [`Barrier::act`] inside a transaction of the caller, who may commit it after an `Ok`, and
    /// after an error as well: what this call did is then rolled back.
    ///
    /// Send the answer only after the commit, and do all of it where it is not dropped half-way.
    /// On SQLite begin with `pool.begin_with("BEGIN IMMEDIATE")`. On PostgreSQL the default level,
    /// `READ COMMITTED`, waits for a concurrent attempt; the higher ones fail with `40001` then.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn act_in<T, F>(
        &self,
        tx: &mut DB::Connection,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize + Send,
        F: AsyncFnOnce(&mut DB::Connection) -> Result<T, Refusal>
            + for<'c> Business<'c, DB::Connection, (), T>
            + Send,
    {
        expect_op(identity, Op::Action)?;
        transaction::inside::<DB, (), T, F>(tx, identity, business).await
    }

    /// [`Barrier::compensate`] inside a transaction of the caller; the terms of
    /// [`Barrier::act_in`] hold.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn compensate_in<O, T, F>(
        &self,
        tx: &mut DB::Connection,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned + Send,
        T: Serialize + Send,
        F: AsyncFnOnce(&mut DB::Connection, O) -> Result<T, Refusal>
            + for<'c> Business<'c, DB::Connection, (O,), T>
            + Send,
    {
        expect_op(identity, Op::Compensation)?;
        transaction::inside::<DB, (O,), T, F>(tx, identity, business).await
    }

    /// Deletes the guard rows of steps whose last call is older than `age`, in small transactions,
    /// and returns how many rows went.
    ///
    /// The risk: a pruned step is forgotten. A repeated or late action is done once more, and a
    /// compensation finds nothing to undo. So `age` must exceed the longest life of a saga, with
    /// the time it may wait for a person included, plus the longest delay of a message; 30 days is
    /// a fair start.
    ///
    /// # Errors
    /// When the database cannot be written; what was deleted before stays deleted.
    pub async fn prune(&self, age: Duration) -> Result<u64, BarrierError> {
        let oldest_kept = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let pool = self.pool.clone();
        transaction::to_the_end(async move { rows::prune(&pool, oldest_kept).await }).await
    }
}

impl<DB: Database> Clone for Barrier<DB> {
    fn clone(&self) -> Self {
        Barrier { pool: self.pool.clone() }
    }
}

impl<DB: Database> fmt::Debug for Barrier<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

/// Business code that the barrier runs inside its transaction: an async closure
/// `async |tx: &mut Connection| -> Result<T, Refusal>` for an action, and
/// `async |tx: &mut Connection, output: O| -> Result<T, Refusal>` for a compensation, where
/// `output` is what the action answered.
///
/// Implemented for every such closure whose future is `Send`; nobody implements it by hand. It
/// exists because the transaction runs in a task of its own, and `AsyncFnOnce` cannot yet demand a
/// `Send` future.
///
/// It must not end the transaction: commit and rollback are the barrier's.
pub trait Business<'c, C: 'c, Args, T> {
    /// What the closure returns.
    type Future: Future<Output = Result<T, Refusal>> + Send + 'c;

    /// Runs the closure on `connection`.
    fn run(self, connection: &'c mut C, args: Args) -> Self::Future;
}

impl<'c, C: 'c, T, F, Fut> Business<'c, C, (), T> for F
where
    F: FnOnce(&'c mut C) -> Fut,
    Fut: Future<Output = Result<T, Refusal>> + Send + 'c,
{
    type Future = Fut;

    fn run(self, connection: &'c mut C, (): ()) -> Fut {
        self(connection)
    }
}

impl<'c, C: 'c, O, T, F, Fut> Business<'c, C, (O,), T> for F
where
    F: FnOnce(&'c mut C, O) -> Fut,
    Fut: Future<Output = Result<T, Refusal>> + Send + 'c,
{
    type Future = Fut;

    fn run(self, connection: &'c mut C, (output,): (O,)) -> Fut {
        self(connection, output)
    }
}

/// Why business code did not do what a call asks for.
///
/// Whatever it wrote is rolled back in every case. `?` on an error of sqlx or serde_json gives
/// [`Refusal::Failed`]; give your own errors a `From` that says which of the three they are.
#[derive(Debug)]
pub enum Refusal {
    /// The business says no, with the reason. The rejection of an action is recorded and final:
    /// every further attempt gets it again. The rejection of a compensation is answered but not
    /// recorded, for a compensation must succeed once a person has removed the cause. A retriable
    /// step must not reject either; use `Failed` there.
    Rejected(String),
    /// Not now, with the reason; for instance another saga holds a semantic lock. Not recorded.
    NotYet {
        /// Why not now, for a person.
        reason: String,
        /// When the engine should come again.
        retry_after: Duration,
    },
    /// The participant failed. Not recorded; the engine takes it as unknown and comes again.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Refusal {
    /// The business says no.
    #[must_use]
    pub fn rejected(reason: impl Into<String>) -> Refusal {
        Refusal::Rejected(reason.into())
    }

    /// The business can say neither yes nor no before `retry_after` has passed.
    #[must_use]
    pub fn not_yet(reason: impl Into<String>, retry_after: Duration) -> Refusal {
        Refusal::NotYet { reason: reason.into(), retry_after }
    }

    /// The participant failed; a text will do as the error.
    #[must_use]
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Refusal {
        Refusal::Failed(error.into())
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Refusal::failed(error)
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Refusal::failed(error)
    }
}

/// Why the barrier has no answer.
///
/// As a response it is the [`Problem`] it converts into, so a handler may return
/// `Result<Answer, BarrierError>`.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// An action was sent to the endpoint of a compensation, or the other way round. Status 400.
    #[error(
        "the call `{identity}` reached the endpoint of the {expected}; correct the action and \
         compensation URLs in the saga's definition"
    )]
    WrongOp {
        /// What was called.
        identity: CallIdentity,
        /// What the endpoint does.
        expected: Op,
    },
    /// This attempt did nothing: the pool is exhausted, the database is gone or locked for too
    /// long, or another attempt of the call takes too long. Status 503.
    #[error("the database is not free for the call, nothing was done: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database failed inside the transaction, or at its commit and could not be asked again
    /// what became of it. Status 500.
    #[error("the database failed in the transaction of a call: {0}")]
    Database(#[source] sqlx::Error),
    /// The business code failed; its transaction was rolled back. Status 500.
    #[error("the business code failed and was rolled back: {0}")]
    Business(#[source] Box<dyn Error + Send + Sync>),
    /// The recorded output of the action is not of the type the compensation wants. Status 500.
    #[error(
        "the recorded output of the action of `{identity}` does not fit its compensation: {fault}"
    )]
    RecordedOutput {
        /// The compensation that was called.
        identity: CallIdentity,
        /// What does not fit.
        #[source]
        fault: serde_json::Error,
    },
    /// The transaction did not end within ten seconds (PostgreSQL only): the business code is too
    /// slow, or the connection is dead. The connection was given up. Status 500.
    #[error(
        "the transaction of the call did not end within 10 s and its connection was given up; it \
         is not known whether it was committed"
    )]
    OutOfTime,
    /// An earlier attempt left its claim behind without an answer. Only business code that ends
    /// the barrier's transaction itself can do that, and nobody knows what it did. Status 500.
    #[error(
        "an earlier attempt of `{identity}` or of the other call of its step was committed without \
         an answer, so its business code has ended the barrier's transaction itself; correct that \
         code, find out what it did, and delete the step's rows with status 0 from saga_barrier"
    )]
    Unanswered {
        /// What was called.
        identity: CallIdentity,
    },
    /// The business code panicked, or the runtime was shut down under it. Status 500.
    #[error("the transaction of a call ended without an answer: {0}")]
    Lost(#[source] tokio::task::JoinError),
}

impl From<BarrierError> for Problem {
    fn from(error: BarrierError) -> Self {
        let detail = error.to_string();
        match error {
            BarrierError::WrongOp { .. } => problem::malformed_call(detail),
            BarrierError::Unavailable(_) => {
                Problem::new(problem::NOT_YET, "The participant's database is busy", 503, detail)
            }
            BarrierError::Database(_)
            | BarrierError::Business(_)
            | BarrierError::RecordedOutput { .. }
            | BarrierError::OutOfTime
            | BarrierError::Unanswered { .. }
            | BarrierError::Lost(_) => {
                Problem::new(problem::FAILED, "The participant failed", 500, detail)
            }
        }
    }
}

fn expect_op(identity: &CallIdentity, expected: Op) -> Result<(), BarrierError> {
    if identity.op == expected {
        return Ok(());
    }
    Err(BarrierError::WrongOp { identity: identity.clone(), expected })
}

#[cfg(test)]
mod tests;
