//! The guard rows in SQLite.
//!
//! Every transaction is `BEGIN IMMEDIATE`: SQLite then has one writer at a time from the first
//! statement on, so what the guard rows say stays true until the commit. (A transaction that reads
//! first and writes later fails with SQLITE_BUSY when another one wrote in between.)

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{
    Barrier, BarrierError, Business, Decision, Guards, Refusal, Settled, expect_op,
    micros_since_epoch, settle,
};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};

/// How many steps' guard rows one transaction of [`Barrier::prune`] deletes at most.
const PRUNED_STEPS_MAX: i64 = 500;

impl Barrier<Sqlite> {
    /// Creates the table `saga_barrier` where it does not exist yet.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn migrate(&self) -> Result<(), BarrierError> {
        let pool = self.pool.clone();
        to_the_end(async move {
            for statement in
                [include_str!("sqlite/create_table.sql"), include_str!("sqlite/create_index.sql")]
            {
                sqlx::query(statement).execute(&pool).await.map_err(BarrierError::Database)?;
            }
            Ok(())
        })
        .await
    }

    /// Runs the business code of an action, unless the guard rows have the answer already.
    ///
    /// The whole transaction runs in a task of its own. Dropping the returned future, as a server
    /// does when its client hangs up, does not stop it half-way: it ends on its own, and the next
    /// attempt finds its answer.
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
        F: AsyncFnOnce(&mut SqliteConnection) -> Result<T, Refusal>
            + for<'c> Business<'c, SqliteConnection, (), T>
            + Send
            + 'static,
    {
        let (barrier, identity) = (self.clone(), identity.clone());
        to_the_end(async move {
            let mut tx = begin(&barrier.pool).await?;
            let answer = barrier.act_in(&mut tx, &identity, business).await;
            end(tx, answer).await
        })
        .await
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
        F: AsyncFnOnce(&mut SqliteConnection, O) -> Result<T, Refusal>
            + for<'c> Business<'c, SqliteConnection, (O,), T>
            + Send
            + 'static,
    {
        let (barrier, identity) = (self.clone(), identity.clone());
        to_the_end(async move {
            let mut tx = begin(&barrier.pool).await?;
            let answer = barrier.compensate_in(&mut tx, &identity, business).await;
            end(tx, answer).await
        })
        .await
    }

    /// [`Barrier::act`] inside a transaction of the caller, who commits it after an `Ok` and rolls
    /// it back after an error.
    ///
    /// Begin it with `pool.begin_with("BEGIN IMMEDIATE")`, send the answer only after the commit,
    /// and do all of it where it is not dropped half-way.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn act_in<T, F>(
        &self,
        tx: &mut SqliteConnection,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        T: Serialize + Send,
        F: AsyncFnOnce(&mut SqliteConnection) -> Result<T, Refusal>
            + for<'c> Business<'c, SqliteConnection, (), T>
            + Send,
    {
        expect_op(identity, Op::Action)?;
        match enter(tx, identity).await? {
            Entry::Answered(answer) => Ok(answer),
            Entry::Run { .. } => run(tx, identity, business, ()).await,
        }
    }

    /// [`Barrier::compensate`] inside a transaction of the caller; the terms of
    /// [`Barrier::act_in`] hold.
    ///
    /// # Errors
    /// See [`BarrierError`].
    pub async fn compensate_in<O, T, F>(
        &self,
        tx: &mut SqliteConnection,
        identity: &CallIdentity,
        business: F,
    ) -> Result<Answer, BarrierError>
    where
        O: DeserializeOwned + Send,
        T: Serialize + Send,
        F: AsyncFnOnce(&mut SqliteConnection, O) -> Result<T, Refusal>
            + for<'c> Business<'c, SqliteConnection, (O,), T>
            + Send,
    {
        expect_op(identity, Op::Compensation)?;
        match enter(tx, identity).await? {
            Entry::Answered(answer) => Ok(answer),
            Entry::Run { output } => {
                let output = serde_json::from_str(&output).map_err(|fault| {
                    BarrierError::RecordedOutput { identity: identity.clone(), fault }
                })?;
                run(tx, identity, business, (output,)).await
            }
        }
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
        to_the_end(async move {
            let mut pruned = 0;
            loop {
                let deleted = sqlx::query(include_str!("sqlite/delete_guards.sql"))
                    .bind(micros_since_epoch(oldest_kept))
                    .bind(PRUNED_STEPS_MAX)
                    .execute(&pool)
                    .await
                    .map_err(BarrierError::Database)?;
                match deleted.rows_affected() {
                    0 => return Ok(pruned),
                    rows => pruned += rows,
                }
            }
        })
        .await
    }
}

/// Runs a piece of database work in a task of its own and waits for it.
///
/// A database future that is dropped half-way can leave its pooled connection inside a transaction
/// that the next user of the connection then writes into and never commits.
async fn to_the_end<T, W>(work: W) -> Result<T, BarrierError>
where
    T: Send + 'static,
    W: Future<Output = Result<T, BarrierError>> + Send + 'static,
{
    tokio::spawn(work).await.map_err(BarrierError::Lost)?
}

async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, BarrierError> {
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(BarrierError::Unavailable)
}

/// Commits an answer; rolls back where there is none.
async fn end(
    tx: Transaction<'_, Sqlite>,
    answer: Result<Answer, BarrierError>,
) -> Result<Answer, BarrierError> {
    match answer {
        Ok(answer) => {
            tx.commit().await.map_err(BarrierError::Database)?;
            Ok(answer)
        }
        Err(error) => {
            // The error is what the caller needs; SQLite drops an uncommitted change in any case.
            let _ = tx.rollback().await;
            Err(error)
        }
    }
}

/// Whether the guard rows answered the call, or the business code must run.
enum Entry {
    Answered(Answer),
    Run { output: String },
}

async fn enter(tx: &mut SqliteConnection, identity: &CallIdentity) -> Result<Entry, BarrierError> {
    match guards(tx, identity).await?.decide(identity) {
        Decision::Run { output } => Ok(Entry::Run { output }),
        Decision::Replay(answer) => Ok(Entry::Answered(answer)),
        Decision::Record { refusal_of_action, answer } => {
            if let Some(refusal) = refusal_of_action {
                record(tx, identity, Op::Action, &refusal).await?;
            }
            record(tx, identity, identity.op, &answer).await?;
            Ok(Entry::Answered(answer))
        }
    }
}

/// Runs business code in a savepoint, so that a rejection can be recorded without its writes.
async fn run<Args, T, F>(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
    business: F,
    args: Args,
) -> Result<Answer, BarrierError>
where
    T: Serialize,
    F: for<'c> Business<'c, SqliteConnection, Args, T>,
{
    let mut savepoint = tx.begin().await.map_err(BarrierError::Database)?;
    match settle(identity.op, business.run(&mut savepoint, args).await) {
        Settled::Keep(answer) => {
            savepoint.commit().await.map_err(BarrierError::Database)?;
            record(tx, identity, identity.op, &answer).await?;
            Ok(answer)
        }
        Settled::RollBackAndRecord(answer) => {
            savepoint.rollback().await.map_err(BarrierError::Database)?;
            record(tx, identity, identity.op, &answer).await?;
            Ok(answer)
        }
        Settled::RollBack(result) => {
            savepoint.rollback().await.map_err(BarrierError::Database)?;
            result
        }
    }
}

async fn guards(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
) -> Result<Guards, BarrierError> {
    let rows: Vec<(String, u16, String)> = sqlx::query_as(include_str!("sqlite/select_guards.sql"))
        .bind(&identity.saga_id)
        .bind(&identity.step)
        .fetch_all(tx)
        .await
        .map_err(BarrierError::Database)?;
    let mut guards = Guards::default();
    for (op, status, body) in rows {
        let answer = Some(Answer::replay(status, body));
        match op.parse().expect("the table's CHECK lets only these words in") {
            Op::Action => guards.action = answer,
            Op::Compensation => guards.compensation = answer,
        }
    }
    Ok(guards)
}

async fn record(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
    op: Op,
    answer: &Answer,
) -> Result<(), BarrierError> {
    sqlx::query(include_str!("sqlite/insert_guard.sql"))
        .bind(&identity.saga_id)
        .bind(&identity.step)
        .bind(op.as_str())
        .bind(answer.status())
        .bind(answer.body())
        .bind(micros_since_epoch(SystemTime::now()))
        .execute(tx)
        .await
        .map_err(BarrierError::Database)?;
    Ok(())
}
