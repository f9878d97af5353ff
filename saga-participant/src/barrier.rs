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
//! This file decides and holds no SQL; the files below `barrier/` keep the rows, one per database.

mod sqlite;

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{Database, Pool};

use crate::answer::Answer;
use crate::call::{CallIdentity, Op};
use crate::problem::{self, Problem};

/// The guard of a participant's endpoints, over the pool of the participant's own database.
///
/// The business change and the guard row are one transaction, so the barrier must be given the
/// database that the business code writes. Cheap to clone; clones share the pool.
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
    /// No transaction could be begun, so this attempt did nothing: the pool is exhausted, the
    /// database is locked for too long or gone. Status 503.
    #[error("no transaction could be begun, nothing was done: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database failed inside the transaction or at its commit. Status 500.
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
            | BarrierError::Lost(_) => {
                Problem::new(problem::FAILED, "The participant failed", 500, detail)
            }
        }
    }
}

/// The recorded answers of a step's two calls, as far as there are any.
#[derive(Debug, Default)]
struct Guards {
    action: Option<Answer>,
    compensation: Option<Answer>,
}

/// What the guard rows say about a call that has arrived.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is new: run the business code. A compensation is given the recorded output of its
    /// action, as JSON; an action has no use for it and gets `null`.
    Run { output: String },
    /// It came before: the recorded answer again.
    Replay(Answer),
    /// Run nothing, record this answer, and first, where one is due, the refusal of the action.
    Record { refusal_of_action: Option<Answer>, answer: Answer },
}

impl Guards {
    fn decide(self, identity: &CallIdentity) -> Decision {
        let refusal_of_action = || {
            let action = CallIdentity { op: Op::Action, ..identity.clone() };
            Answer::dangling_action(&action.idempotency_key())
        };
        match (identity.op, self.action, self.compensation) {
            (Op::Action, Some(first), _) | (Op::Compensation, _, Some(first)) => {
                Decision::Replay(first)
            }
            (Op::Action, None, None) => Decision::Run { output: "null".to_owned() },
            // Only pruning can have taken the action's row; refusing it stays right.
            (Op::Action, None, Some(_)) => {
                Decision::Record { refusal_of_action: None, answer: refusal_of_action() }
            }
            (Op::Compensation, None, None) => Decision::Record {
                refusal_of_action: Some(refusal_of_action()),
                answer: Answer::nothing_to_undo(),
            },
            (Op::Compensation, Some(action), None) if action.is_processed() => {
                Decision::Run { output: action.body().to_owned() }
            }
            (Op::Compensation, Some(_), None) => {
                Decision::Record { refusal_of_action: None, answer: Answer::nothing_to_undo() }
            }
        }
    }
}

/// What becomes of the business code's result.
#[derive(Debug)]
enum Settled {
    /// Keep the business change and record the answer.
    Keep(Answer),
    /// Roll the business change back and record the answer.
    RollBackAndRecord(Answer),
    /// Roll the business change back and leave no trace.
    RollBack(Result<Answer, BarrierError>),
}

fn settle<T: serde::Serialize>(op: Op, result: Result<T, Refusal>) -> Settled {
    let answered = result.and_then(|output| Ok(Answer::processed(&output)?.recorded()));
    match (answered, op) {
        (Ok(answer), _) => Settled::Keep(answer),
        (Err(Refusal::Rejected(reason)), Op::Action) => {
            Settled::RollBackAndRecord(Answer::rejected(reason).recorded())
        }
        (Err(Refusal::Rejected(reason)), Op::Compensation) => {
            Settled::RollBack(Ok(Answer::rejected(reason)))
        }
        (Err(Refusal::NotYet { reason, retry_after }), _) => {
            Settled::RollBack(Ok(Answer::not_yet(reason, retry_after)))
        }
        (Err(Refusal::Failed(error)), _) => Settled::RollBack(Err(BarrierError::Business(error))),
    }
}

fn expect_op(identity: &CallIdentity, expected: Op) -> Result<(), BarrierError> {
    if identity.op == expected {
        return Ok(());
    }
    Err(BarrierError::WrongOp { identity: identity.clone(), expected })
}

/// Microseconds since 1970, as guard rows keep them. An integer, because times as text do not sort.
fn micros_since_epoch(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
