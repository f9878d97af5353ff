//! The guard rows: what a database must be able to do, and what the barrier makes of it.

use std::time::{Duration, SystemTime};

use sqlx::{Database, Pool};

use super::decision::Guards;
use super::{BarrierError, guard, transaction};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};

/// How often creating the table is tried while other processes create it as well.
const CREATIONS_MAX: u32 = 10;

/// A database that can keep guard rows: SQLite and PostgreSQL, each behind the feature of its
/// name. Nobody else implements it.
pub trait GuardRows: Database {
    /// What is particular about it, a matter of this crate alone.
    #[doc(hidden)]
    type Dialect: Dialect<Self>;
}

/// What differs between the databases.
pub trait Dialect<DB: Database> {
    /// The statements.
    const SQL: Statements;
    /// Begins a transaction in which nobody else changes what the guard rows of a claimed call
    /// say.
    const BEGIN: &'static str;
    /// How long a transaction may take before its connection counts as dead. Default: for ever.
    const TRANSACTION_MAX: Option<Duration> = None;

    /// Runs a statement with these values and returns how many rows it changed.
    fn execute(
        db: &mut DB::Connection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs statements without values, in one round trip.
    fn run(
        db: &mut DB::Connection,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The operation, status and body of the guard rows of a step.
    fn select(
        db: &mut DB::Connection,
        saga_id: &str,
        step: &str,
    ) -> impl Future<Output = Result<Vec<(String, i32, String)>, sqlx::Error>> + Send;

    /// Claims guard rows in this order, and returns them and those that were there before. A row that
    /// another transaction held until just now may be missing.
    fn claim_all(
        db: &mut DB::Connection,
        rows: &[GuardRow<'_>],
        now: i64,
    ) -> impl Future<Output = Result<Vec<Known>, sqlx::Error>> + Send {
        async move {
            let mut known = Vec::new();
            for GuardRow { identity, .. } in rows.iter().filter(|row| row.op == row.identity.op) {
                let CallIdentity { saga_id, step, .. } = identity;
                for (op, status, body) in Self::select(db, saga_id, step).await? {
                    known.push((saga_id.clone(), step.clone(), op, Some(status), body));
                }
            }
            for GuardRow { identity, op } in rows {
                let values = claiming(identity, *op, now);
                if Self::execute(db, Self::SQL.claim_guard, &values).await? == 1 {
                    let CallIdentity { saga_id, step, .. } = (*identity).clone();
                    known.push((saga_id, step, op.to_string(), None, String::new()));
                }
            }
            Ok(known)
        }
    }

    /// Writes answers into claimed guard rows and returns how many.
    fn answer_all(
        db: &mut DB::Connection,
        answers: &[(GuardRow<'_>, &Answer)],
        _now: i64,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send {
        async move {
            let mut written = 0;
            for (GuardRow { identity, op }, answer) in answers {
                let values = answering(identity, *op, answer);
                written += Self::execute(db, Self::SQL.answer_guard, &values).await?;
            }
            Ok(written)
        }
    }

    /// What an error says about the transaction it broke.
    fn fate(error: &sqlx::Error) -> Fate;

    /// Whether the table could not be created because another process did so at the same moment.
    fn is_created_already(error: &sqlx::Error) -> bool;
}

/// Names a guard row: that of an operation, of the step that a call is of.
#[derive(Debug, Clone, Copy)]
pub struct GuardRow<'a> {
    /// The call.
    pub identity: &'a CallIdentity,
    /// The operation, which need not be that of the call.
    pub op: Op,
}

/// The saga, step, operation, status and body of a guard row; no status where it was claimed.
pub(super) type Known = (String, String, String, Option<i32>, String);

/// The statements of a dialect.
#[derive(Debug)]
pub struct Statements {
    /// Creates the table.
    pub create_table: &'static str,
    /// Creates its index.
    pub create_index: &'static str,
    /// Inserts a guard row unless it is there.
    pub claim_guard: &'static str,
    /// Writes the answer into a claimed guard row.
    pub answer_guard: &'static str,
    /// Deletes a claimed guard row that has no answer.
    pub disclaim_guard: &'static str,
    /// Deletes the guard rows of some old steps.
    pub delete_guards: &'static str,
}

/// A value to bind.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A number, for any column of integers.
    Number(i64),
}

/// What an error says about the transaction it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The database took it back; the same again may pass.
    TakenBack,
    /// The connection is lost. Without a commit nothing has happened; a commit may have.
    Lost,
    /// A lock was not to be had in time, so it did not happen.
    Busy,
    /// It did not happen, and the same again would end in the same way.
    Failed,
}

/// Creates the table and its index where they do not exist yet.
pub(super) async fn create_table<DB: GuardRows>(pool: &Pool<DB>) -> Result<(), BarrierError> {
    let mut db = pool.acquire().await.map_err(BarrierError::unavailable)?;
    for statement in [DB::Dialect::SQL.create_table, DB::Dialect::SQL.create_index] {
        let mut creations = 1;
        while let Err(error) = DB::Dialect::execute(&mut db, statement, &[]).await {
            if creations == CREATIONS_MAX || !DB::Dialect::is_created_already(&error) {
                return Err(BarrierError::database(error));
            }
            creations += 1;
        }
    }
    Ok(())
}

/// Deletes the guard rows of steps whose last call was before `oldest_kept`; returns their number.
pub(super) async fn prune<DB: GuardRows>(
    pool: &Pool<DB>,
    oldest_kept: SystemTime,
) -> Result<u64, BarrierError> {
    let mut db = pool.acquire().await.map_err(BarrierError::unavailable)?;
    let values = [
        Value::Number(guard::micros_since_epoch(oldest_kept)),
        Value::Number(guard::PRUNED_STEPS_MAX),
    ];
    let mut pruned = 0;
    loop {
        let deleted = DB::Dialect::execute(&mut db, DB::Dialect::SQL.delete_guards, &values).await;
        match deleted.map_err(BarrierError::database)? {
            0 => return Ok(pruned),
            rows => pruned += rows,
        }
    }
}

/// Claims the guard rows of a call and returns what is recorded for its step.
///
/// Where another transaction holds one of the rows, the claim waits for its end.
pub(super) async fn claim<DB: GuardRows>(
    tx: &mut DB::Connection,
    identity: &CallIdentity,
) -> Result<Guards, BarrierError> {
    let now = guard::micros_since_epoch(SystemTime::now());
    let mut claimed = 0;
    for op in guard::claimed_by(identity.op) {
        let values = claiming(identity, *op, now);
        claimed += DB::Dialect::execute(tx, DB::Dialect::SQL.claim_guard, &values)
            .await
            .map_err(transaction::claim_error::<DB>)?;
    }
    let rows = DB::Dialect::select(tx, &identity.saga_id, &identity.step).await;
    let rows = rows.map_err(BarrierError::database)?;
    guard::read(rows, claimed, identity)
}

/// Writes the answer of a call into its claimed guard row.
pub(super) async fn answer<DB: GuardRows>(
    tx: &mut DB::Connection,
    identity: &CallIdentity,
    op: Op,
    answer: &Answer,
) -> Result<(), BarrierError> {
    let values = answering(identity, op, answer);
    match DB::Dialect::execute(tx, DB::Dialect::SQL.answer_guard, &values)
        .await
        .map_err(BarrierError::database)?
    {
        // A row that vanished between claim and answer would let the call through once more.
        0 => Err(BarrierError::database(sqlx::Error::RowNotFound)),
        _ => Ok(()),
    }
}

/// The values of `claim_guard`.
fn claiming(identity: &CallIdentity, op: Op, now: i64) -> [Value<'_>; 5] {
    [
        Value::Text(&identity.saga_id),
        Value::Text(&identity.step),
        Value::Text(op.as_str()),
        Value::Number(guard::UNANSWERED.into()),
        Value::Number(now),
    ]
}

/// The values of `answer_guard`.
fn answering<'a>(identity: &'a CallIdentity, op: Op, answer: &'a Answer) -> [Value<'a>; 5] {
    [
        Value::Text(&identity.saga_id),
        Value::Text(&identity.step),
        Value::Text(op.as_str()),
        Value::Number(i64::from(answer.status())),
        Value::Text(answer.body()),
    ]
}
