//! A call's transaction: claim, decide, run the business code, answer, commit.
//!
//! Three habits of database drivers would break the barrier, so they are kept out here. A future
//! that is dropped half-way can leave its pooled connection inside a transaction that the next
//! user then writes into and never commits: every transaction runs in a task of its own, and a
//! connection that has to be given up leaves the pool. A COMMIT after a failed statement is
//! answered like a success although it rolls back: only a transaction whose last statement has
//! succeeded is committed. And a COMMIT that is not answered may have happened: another try claims
//! the guard row, which waits for the first one's end, and finds the answer or does the work.

use std::error::Error as _;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Connection as _, Pool, SqlSafeStr as _, Transaction};

use super::decision::{Decision, settle};
use super::rows::{self, Dialect as _, Fate, GuardRows};
use super::{BarrierError, Business};
use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use crate::faults;

/// How often a transaction is tried that the database takes back or whose connection is lost.
const TRIES_MAX: u32 = 5;

/// What business code is given beside the transaction, made from the recorded output of the
/// action.
pub(super) trait Arguments: Sized {
    fn read(output: &str) -> Result<Self, serde_json::Error>;
}

impl Arguments for () {
    fn read(_output: &str) -> Result<Self, serde_json::Error> {
        Ok(())
    }
}

impl<O: DeserializeOwned> Arguments for (O,) {
    fn read(output: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(output).map(|output| (output,))
    }
}

/// Runs a piece of database work in a task of its own and waits for it.
pub(super) async fn to_the_end<T, W>(work: W) -> Result<T, BarrierError>
where
    T: Send + 'static,
    W: Future<Output = Result<T, BarrierError>> + Send + 'static,
{
    tokio::spawn(work).await.map_err(BarrierError::lost)?
}

/// A call in a transaction of its own, tried until its outcome is known. `in_doubt`: it may have been
/// committed before.
pub(super) async fn own<DB, Args, T, F>(
    pool: Pool<DB>,
    identity: CallIdentity,
    business: F,
    mut in_doubt: Option<BarrierError>,
) -> Result<Answer, BarrierError>
where
    DB: GuardRows,
    Args: Arguments + Send + 'static,
    T: Serialize + Send + 'static,
    F: for<'c> Business<'c, DB::Connection, Args, T> + Clone + Send + 'static,
{
    to_the_end(async move {
        let mut tries = 1;
        loop {
            let stopped = match once(&pool, &identity, business.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(stopped) => stopped,
            };
            let fate = stopped.fate::<DB>();
            let is_hopeless = matches!(fate, Fate::Busy | Fate::Failed) || tries == TRIES_MAX;
            let is_in_doubt = match &stopped {
                Stopped::AtCommit(error) => is_given_up::<DB>(error),
                Stopped::Inside(_) | Stopped::OutOfTime => false,
            };
            if is_hopeless || is_in_doubt {
                // While a commit is in doubt no later failure may say that nothing was done.
                let error = in_doubt.unwrap_or_else(|| stopped.into());
                if is_hopeless {
                    return Err(error);
                }
                in_doubt = Some(error);
            }
            tries += 1;
        }
    })
    .await
}

/// A call inside a transaction of the caller, in a savepoint so that the caller's own work
/// survives its failure.
pub(super) async fn inside<DB, Args, T, F>(
    tx: &mut DB::Connection,
    identity: &CallIdentity,
    business: F,
) -> Result<Answer, Stopped>
where
    DB: GuardRows,
    Args: Arguments + Send,
    T: Serialize + Send,
    F: for<'c> Business<'c, DB::Connection, Args, T> + Send,
{
    let begun = tx.begin().await;
    let savepoint = begun.map_err(|error| Stopped::Inside(BarrierError::database(error)))?;
    through(savepoint, identity, business).await
}

/// Why a transaction has no outcome.
pub(super) enum Stopped {
    /// It broke before its commit, so it was rolled back.
    Inside(BarrierError),
    /// Its commit failed or was not answered.
    AtCommit(sqlx::Error),
    /// It took too long, perhaps at its commit.
    OutOfTime,
}

/// Whether a commit that ended like this may have happened.
pub(super) fn is_given_up<DB: GuardRows>(error: &sqlx::Error) -> bool {
    DB::Dialect::fate(error) == Fate::Lost
}

impl Stopped {
    pub(super) fn fate<DB: GuardRows>(&self) -> Fate {
        match self {
            Stopped::AtCommit(error) => DB::Dialect::fate(error),
            // The caller has waited long enough.
            Stopped::OutOfTime => Fate::Failed,
            Stopped::Inside(error) => database_error(error).map_or(Fate::Failed, DB::Dialect::fate),
        }
    }
}

impl From<Stopped> for BarrierError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Inside(error) => error,
            Stopped::AtCommit(error) => BarrierError::database(error),
            Stopped::OutOfTime => BarrierError::OutOfTime,
        }
    }
}

/// The error of the database below an error, if there is one.
fn database_error(error: &BarrierError) -> Option<&sqlx::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// A claim that waits too long has done nothing.
pub(super) fn claim_error<DB: GuardRows>(error: sqlx::Error) -> BarrierError {
    match DB::Dialect::fate(&error) {
        Fate::Busy => BarrierError::unavailable(error),
        Fate::TakenBack | Fate::Lost | Fate::Failed => BarrierError::database(error),
    }
}

async fn once<DB, Args, T, F>(
    pool: &Pool<DB>,
    identity: &CallIdentity,
    business: F,
) -> Result<Answer, Stopped>
where
    DB: GuardRows,
    Args: Arguments + Send,
    T: Serialize + Send,
    F: for<'c> Business<'c, DB::Connection, Args, T> + Send,
{
    let unavailable = |error| Stopped::Inside(BarrierError::unavailable(error));
    let mut db = pool.acquire().await.map_err(unavailable)?;
    let begin = DB::Dialect::BEGIN.into_sql_str();
    let work = async {
        let tx = db.begin_with(begin).await.map_err(unavailable)?;
        through(tx, identity, business).await
    };
    let ended = match DB::Dialect::TRANSACTION_MAX {
        None => work.await,
        // What is dropped half-way here is dropped together with its connection.
        Some(max) => tokio::time::timeout(max, work).await.unwrap_or(Err(Stopped::OutOfTime)),
    };
    let is_open = db.is_in_transaction();
    let ended = match ended {
        // Its own is still open; it ends with the connection.
        Ok(_) if is_open => Err(Stopped::Inside(BarrierError::database(left_open()))),
        ended => ended,
    };
    let is_lost = match &ended {
        Ok(_) => false,
        Err(Stopped::OutOfTime) => true,
        Err(stopped) => stopped.fate::<DB>() == Fate::Lost,
    };
    // It is still in a transaction where business code has ended that behind the driver's back.
    if is_lost || is_open {
        drop(db.detach());
    }
    ended
}

/// The driver ends the innermost transaction that it knows of, so one that business code has begun inside
/// its own and forgotten is ended in the stead of ours, and nothing is committed.
fn left_open() -> sqlx::Error {
    let why = "the business code left a transaction open that it began inside its own: commit it, roll it \
               back or drop it before it returns";
    sqlx::Error::Protocol(why.to_owned())
}

/// Runs a call through a transaction or savepoint to its end. Only a recorded answer is kept.
async fn through<DB, Args, T, F>(
    mut tx: Transaction<'_, DB>,
    identity: &CallIdentity,
    business: F,
) -> Result<Answer, Stopped>
where
    DB: GuardRows,
    Args: Arguments + Send,
    T: Serialize + Send,
    F: for<'c> Business<'c, DB::Connection, Args, T> + Send,
{
    match answer::<DB, Args, T, F>(&mut tx, identity, business).await {
        Ok(answer) if answer.is_recorded() => {
            faults::crash_here("commit.before");
            tx.commit().await.map_err(Stopped::AtCommit)?;
            faults::crash_here("commit.after");
            Ok(answer)
        }
        unrecorded => {
            // A failure to roll back is no news: without a commit the database keeps nothing.
            let _ = tx.rollback().await;
            unrecorded.map_err(Stopped::Inside)
        }
    }
}

async fn answer<DB, Args, T, F>(
    tx: &mut DB::Connection,
    identity: &CallIdentity,
    business: F,
) -> Result<Answer, BarrierError>
where
    DB: GuardRows,
    Args: Arguments + Send,
    T: Serialize + Send,
    F: for<'c> Business<'c, DB::Connection, Args, T> + Send,
{
    match rows::claim::<DB>(tx, identity).await?.decide(identity) {
        Decision::Replay(answer) => Ok(answer),
        Decision::Record { refusal_of_action, answer } => {
            if let Some(refusal) = refusal_of_action {
                rows::answer::<DB>(tx, identity, Op::Action, &refusal).await?;
            }
            rows::answer::<DB>(tx, identity, identity.op, &answer).await?;
            Ok(answer)
        }
        Decision::Run { output } => {
            let args = Args::read(&output).map_err(|fault| BarrierError::RecordedOutput {
                identity: identity.clone(),
                fault,
            })?;
            run::<DB, Args, T, F>(tx, identity, business, args).await
        }
    }
}

/// Runs business code in a savepoint, so that a rejection can be recorded without its writes.
async fn run<DB, Args, T, F>(
    tx: &mut DB::Connection,
    identity: &CallIdentity,
    business: F,
    args: Args,
) -> Result<Answer, BarrierError>
where
    DB: GuardRows,
    T: Serialize,
    F: for<'c> Business<'c, DB::Connection, Args, T>,
{
    let mut savepoint = tx.begin().await.map_err(BarrierError::database)?;
    let settled = settle(identity.op, business.run(&mut savepoint, args).await);
    let kept = match &settled {
        // Where business code has ignored a failed statement, this fails as well.
        Ok(answer) if answer.is_processed() => savepoint.commit().await,
        _ => savepoint.rollback().await,
    };
    let answer = settled?;
    kept.map_err(BarrierError::database)?;
    if answer.is_recorded() {
        rows::answer::<DB>(tx, identity, identity.op, &answer).await?;
    }
    Ok(answer)
}
