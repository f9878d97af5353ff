//! The two answers the machine branches on when a call did not succeed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest failure text kept in the log, in bytes; longer ones are cut.
pub const FAILURE_TEXT_BYTES_MAX: usize = 2_048;

/// Why an action or a compensation gave no output.
///
/// Any error type turns into [`Failure::Transient`] through `?`: an outcome
/// that nobody explained is *unknown*. Only [`Failure::rejected`] says that the
/// business refused and nothing happened.
///
/// ```
/// use saga_core::Failure;
///
/// fn reserve(stock: &str) -> Result<u32, Failure> {
///     let left: u32 = stock.parse()?; // any error: unknown, so it is retried
///     if left == 0 {
///         return Err(Failure::rejected("out of stock"));
///     }
///     Ok(left - 1)
/// }
/// assert!(matches!(reserve("0"), Err(Failure::Rejected(_))));
/// assert!(matches!(reserve("?"), Err(Failure::Transient(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The effect is unknown: it may or may not have happened.
    Transient(Transient),
    /// The business says no, and this attempt had no effect.
    Rejected(Rejection),
}

/// An outcome that is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transient {
    /// The kind of doubt, with a stable code.
    pub cause: TransientCause,
    /// In words, for a person.
    pub message: String,
    /// The participant asked not to be called again before this many milliseconds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What left the outcome in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransientCause {
    /// The call answered with an error that was not a rejection.
    Error,
    /// The call did not answer in time.
    Timeout,
    /// The call panicked.
    Panicked,
    /// The participant asked to be called later.
    NotYet,
    /// The call was given up because the saga turned or the worker drained.
    Cancelled,
    /// The worker that made the call is gone.
    WorkerLost,
}

/// A refusal by the business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// In words, for a person.
    pub reason: String,
    /// The participant vouches that *no* attempt under this idempotency key, earlier or late,
    /// had or will have an effect. A barrier can vouch; a plain service cannot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
    /// The call was never made: what it was to be given could not be read. It says nothing of
    /// the participant, nor of earlier attempts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncalled: bool,
}

impl Failure {
    /// The business says no; this attempt had no effect.
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::Rejected(Rejection { reason: cut(&reason), settled: false, uncalled: false })
    }

    /// The business says no, recorded under the idempotency key: it holds for every attempt.
    ///
    /// Use it only where a barrier (or the like) makes it true.
    pub fn rejected_for_good(reason: impl fmt::Display) -> Self {
        Self::Rejected(Rejection { reason: cut(&reason), settled: true, uncalled: false })
    }

    /// The call cannot be made, because what it needs cannot be read.
    ///
    /// This is a rejection: trying again would not help, and nothing has happened. A bad input is
    /// refused and what came before is undone; where a saga cannot turn (after its pivot, in a
    /// compensation) it is stuck until a person has mended the values or the code.
    pub(crate) fn uncallable(failure: &Self) -> Self {
        let why = match failure {
            Self::Transient(transient) => &transient.message,
            Self::Rejected(rejection) => &rejection.reason,
        };
        let reason = cut(&format_args!("not called, its parameters cannot be read: {why}"));
        Self::Rejected(Rejection { reason, settled: false, uncalled: true })
    }

    /// The outcome is unknown. The same as letting any error through with `?`.
    pub fn transient(message: impl fmt::Display) -> Self {
        Self::unknown(TransientCause::Error, message)
    }

    /// The participant asked to be called again after a while.
    pub fn not_yet(retry_after: Duration, message: impl fmt::Display) -> Self {
        let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        Self::Transient(Transient {
            cause: TransientCause::NotYet,
            message: cut(&message),
            retry_after_ms: Some(retry_after_ms),
        })
    }

    /// The outcome is unknown for a named cause.
    pub fn unknown(cause: TransientCause, message: impl fmt::Display) -> Self {
        Self::Transient(Transient { cause, message: cut(&message), retry_after_ms: None })
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::transient(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(transient) => transient.fmt(f),
            Self::Rejected(rejection) => rejection.fmt(f),
        }
    }
}

impl fmt::Display for Transient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outcome unknown ({}): {}", self.cause, self.message)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected: {}", self.reason)
    }
}

impl fmt::Display for TransientCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Panicked => "panicked",
            Self::NotYet => "not yet",
            Self::Cancelled => "cancelled",
            Self::WorkerLost => "worker lost",
        })
    }
}

/// The text of an error, cut so that no answer can make the log row unbounded.
fn cut(text: &impl fmt::Display) -> String {
    let mut text = text.to_string();
    if text.len() > FAILURE_TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(FAILURE_TEXT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}
