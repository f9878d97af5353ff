//! The barrier over a pool of sqlx: each call has a transaction and a connection of its own.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Pool;

use super::group::Group;
use super::rows::{self, GuardRows};
use super::transaction::Arguments;
use super::{BarrierError, Business, Refusal, expect_op, transaction};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};

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
pub struct Barrier<DB: GuardRows> {
    pool: Pool<DB>,
    group: Option<Group<DB>>,
}

impl<DB: GuardRows> Barrier<DB> {
    /// A barrier in the database of `pool`. Its table must exist: call `migrate` once at start.
    #[must_use]
    pub fn new(pool: Pool<DB>) -> Self {
        Barrier { pool, group: None }
    }

    /// The same barrier with calls that share transactions: those that arrive while a commit is in
    /// flight are the next one's, each in a savepoint. On PostgreSQL one statement claims and reads all
    /// their guard rows, and one answers them. Calls that write the same row, such as the
    /// balance of an account, then wait for each other no more than their statements take. Without
    /// such a row, calls with a connection of their own each have more room.
    ///
    /// Business code must not end the transaction: here it would commit what others have not finished,
    /// and their calls would need a person ([`BarrierError::Unanswered`]).
    ///
    /// Business code must be short and wait for nobody, since all others wait for it; and it may run
    /// twice, as with any barrier: where a call breaks the transaction that it shares, each gets one
    /// of its own. No promise is weaker: a call is answered when it is durable.
    ///
    /// # Panics
    /// Outside of a tokio runtime: the calls of a group are run by a task of theirs.
    #[must_use]
    pub fn grouped(self) -> Self {
        let group = Some(Group::start(self.pool.clone()));
        Barrier { group, ..self }
    }

    /// The pool that the barrier opens its transactions on.
    #[must_use]
    pub fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

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
        self.call::<(), T, F>(identity, business).await
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
        self.call::<(O,), T, F>(identity, business).await
    }

    async fn call<Args, T, F>(
        &self,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        Args: Arguments + Send + 'static,
        T: Serialize + Send + 'static,
        F: for<'c> Business<'c, DB::Connection, Args, T> + Clone + Send + 'static,
    {
        let (pool, identity) = (self.pool.clone(), identity.clone());
        match &self.group {
            Some(group) => group.call::<Args, T, F>(pool, identity, business).await,
            None => transaction::own::<DB, Args, T, F>(pool, identity, business, None).await,
        }
    }

    /// [`Barrier::act`] inside a transaction of the caller, who may commit it after an `Ok`, and
    /// after an error as well: what this call did is then rolled back.
    ///
    /// Send the answer only after the commit, and do all of it where it is not dropped half-way.
    /// On SQLite begin with `pool.begin_with("BEGIN IMMEDIATE")`. On PostgreSQL the default level,
    /// `READ COMMITTED`, waits for a concurrent attempt; the higher ones fail with `40001` then.
    /// Business code that begins a transaction inside this one must not forget it with
    /// [`mem::forget`](std::mem::forget): here, unlike in [`Barrier::act`], nobody can find that out, and
    /// the caller's commit would end the forgotten one.
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
        Ok(transaction::inside::<DB, (), T, F>(tx, identity, business).await?)
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
        Ok(transaction::inside::<DB, (O,), T, F>(tx, identity, business).await?)
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

impl<DB: GuardRows> Clone for Barrier<DB> {
    fn clone(&self) -> Self {
        Barrier { pool: self.pool.clone(), group: self.group.clone() }
    }
}

impl<DB: GuardRows> fmt::Debug for Barrier<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("database", &DB::NAME)
            .field("is_grouped", &self.group.is_some())
            .finish_non_exhaustive()
    }
}
