//! Why the barrier has no answer.

use std::error::Error;

use crate::call::{CallIdentity, Op};
use crate::problem::{self, Problem};

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
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The database failed inside the transaction, or at its commit and could not be asked again
    /// what became of it. Status 500.
    #[error("the database failed in the transaction of a call: {0}")]
    Database(#[source] Box<dyn Error + Send + Sync>),
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
    Lost(#[source] Box<dyn Error + Send + Sync>),
}

impl BarrierError {
    pub(super) fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        BarrierError::Unavailable(error.into())
    }

    pub(super) fn database(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        BarrierError::Database(error.into())
    }

    pub(super) fn lost(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        BarrierError::Lost(error.into())
    }
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
