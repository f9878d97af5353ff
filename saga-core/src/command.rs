//! What an operator may ask of a live saga.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::IdempotencyKey;
use crate::payload::Payload;

/// An operator command: who asks for what, why, and under which request id.
///
/// Accepted commands are events in the same log; repeating one with the same
/// request id has no further effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Under which the command is idempotent.
    pub request_id: IdempotencyKey,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// For what.
    pub action: CommandAction,
    /// Only if the saga still stands at this position of its log, where the asker has seen it;
    /// `None`: wherever it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seq: Option<u64>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandAction {
    /// Try what failed again now, with a fresh budget of attempts.
    Retry,
    /// Take a step, or the compensation of a step, as settled without calling it.
    Skip {
        /// The step's name.
        step: String,
        /// What to take for granted.
        assume: Assume,
    },
    /// Force backward recovery before the pivot.
    Compensate,
    /// Ask for backward recovery; refused once the pivot was handed out.
    Cancel,
    /// Hand out no further call.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Give up: the verdict lists the effects that remain.
    Stop,
}

/// What a skipped call is taken to have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assume {
    /// The action happened, with this output.
    Processed(Payload),
    /// The action had and will have no effect: backward recovery begins. Not for retriable steps.
    NoEffect,
    /// The compensation has been done by other means: the step counts as compensated.
    Compensated,
    /// The compensation is left out: the step's effect remains and the verdict will say so.
    EffectRemains,
}

impl CommandAction {
    /// What it is called in APIs and on the command line.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip { .. } => "skip",
            Self::Compensate => "compensate",
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }
}

impl Command {
    /// Longest actor and reason, in bytes.
    pub const TEXT_LEN_MAX: usize = 1_024;

    /// What is wrong with the command's own fields, whatever the saga.
    ///
    /// # Errors
    /// [`Refusal::Field`] naming the field.
    pub fn check(&self) -> Result<(), Refusal> {
        for (field, text) in [("actor", &self.actor), ("reason", &self.reason)] {
            if text.trim().is_empty() || text.len() > Self::TEXT_LEN_MAX {
                return Err(Refusal::Field { field, bytes: text.len() });
            }
        }
        Ok(())
    }

    /// Whether the saga still stands where the command expects it.
    ///
    /// # Errors
    /// [`Refusal::MovedOn`] when it does not.
    pub fn check_position(&self, seq: u64) -> Result<(), Refusal> {
        match self.expected_seq {
            Some(expected) if expected != seq => Err(Refusal::MovedOn { expected, seq }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}: {}", self.action, self.actor, self.reason)
    }
}

impl fmt::Display for CommandAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry => f.write_str("retry"),
            Self::Skip { step, assume } => write!(f, "skip {step} ({assume})"),
            Self::Compensate => f.write_str("compensate"),
            Self::Cancel => f.write_str("cancel"),
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::Stop => f.write_str("stop"),
        }
    }
}

impl fmt::Display for Assume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processed(_) => "taken as processed",
            Self::NoEffect => "taken as without effect",
            Self::Compensated => "taken as compensated",
            Self::EffectRemains => "its effect remains",
        })
    }
}

/// Why a command makes no sense for a saga in its present state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the message of each variant says what it is")]
pub enum Refusal {
    #[error("{field} is {bytes} bytes long: expected 1 to 1024 bytes of text")]
    Field {
        #[serde(skip, default = "some_field")]
        field: &'static str,
        bytes: usize,
    },
    #[error("the saga has ended ({verdict}): a verdict is final")]
    Ended { verdict: String },
    #[error(
        "step {step} was handed out, so the saga only goes forward: stop is possible, or skip once it has failed"
    )]
    PivotHandedOut { step: String },
    #[error(
        "the saga is in backward recovery already: retry or skip what does not succeed, or stop"
    )]
    CompensatingAlready,
    #[error("nothing is waiting to be retried")]
    NothingToRetry,
    #[error("there is no step {step:?}: the steps are {known:?}")]
    UnknownStep { step: String, known: Vec<String> },
    #[error("step {step} is {state}, and a call is in flight: wait for its answer")]
    InFlight { step: String, state: String },
    #[error("step {step} is {state}: {why}")]
    NotSkippable { step: String, state: String, why: String },
    #[error("step {step} cannot be taken as processed with this output: {why}")]
    Output { step: String, why: String },
    #[error(
        "the saga has moved on from position {expected} to {seq}: look at it again, then ask anew"
    )]
    MovedOn { expected: u64, seq: u64 },
    #[error("the log of the saga is full: it can only be stopped")]
    LogFull,
    #[error("the saga is paused already")]
    Paused,
    #[error("the saga is not paused")]
    NotPaused,
    #[error(
        "the log of the saga cannot be replayed ({why}): restore it, then ask again under a new request id"
    )]
    LogDamaged { why: String },
}

fn some_field() -> &'static str {
    "a field"
}
