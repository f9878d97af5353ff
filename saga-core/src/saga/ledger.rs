//! What is known of one step.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::verdict::Effect;

/// The state of a step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not called yet. Left when the intent to call becomes durable.
    #[default]
    Pending,
    /// The intent is durable, the call may be under way. Left by its answer, or by the loss of its worker.
    Received,
    /// The effect is known to have happened. Left only backward.
    Processed,
    /// The call was rejected or its effect is unknown. Left by a retry, or backward.
    Failed,
    /// The intent to compensate is durable. Left by the compensation's answer.
    Compensating,
    /// Undone. Final.
    Compensated,
    /// An attempt to compensate did not succeed. Left by a retry or an operator.
    CompensationFailed,
}

/// The books of one step: what was tried and what may have come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepLedger {
    /// Its state.
    pub state: StepState,
    /// Attempts of the action so far.
    pub attempts: u32,
    /// Attempts of the compensation so far.
    pub compensation_attempts: u32,
    /// What the action answered, if it is processed.
    pub output: Option<Payload>,
    /// Why the last unsuccessful attempt was unsuccessful.
    pub last_error: Option<Failure>,
    /// When it was first called.
    pub started_at: Option<Timestamp>,
    /// When its state last changed.
    pub changed_at: Option<Timestamp>,
    /// An attempt of the action ended with its effect unknown, or one of the compensation with
    /// its effect gone or not, and nothing has settled that since.
    pub doubt: bool,
    /// Not before this moment will it be called (again).
    pub wake_at: Option<Timestamp>,
    /// Since when it has been held back by the participant's breaker without a call in between.
    pub held_since: Option<Timestamp>,
    /// There will be no further attempt unless an operator asks for one.
    pub spent: bool,
    /// An operator decided that its effect remains.
    pub left: bool,
    /// Attempts at the present budget, which an operator's retry renews.
    pub budget_used: u32,
}

impl StepLedger {
    /// What is known of its effect at the participant.
    pub fn effect(&self) -> Effect {
        match self.state {
            StepState::Pending => Effect::None,
            StepState::Received => Effect::Unknown,
            StepState::Processed => Effect::Present,
            StepState::Failed if self.doubt => Effect::Unknown,
            StepState::Failed => Effect::None,
            StepState::CompensationFailed if self.output.is_some() && !self.doubt => {
                Effect::Present
            }
            // A compensation that may be under way, or may have happened, leaves no certainty.
            StepState::Compensating | StepState::CompensationFailed => Effect::Unknown,
            StepState::Compensated => Effect::Undone,
        }
    }

    /// Whether a call may be under way.
    pub fn in_flight(&self) -> bool {
        matches!(self.state, StepState::Received | StepState::Compensating)
    }

    /// Whether the business refused it for certain.
    pub fn rejected(&self) -> bool {
        self.state == StepState::Failed && matches!(self.last_error, Some(Failure::Rejected(_)))
    }

    pub(super) fn due(&self, now: Timestamp) -> bool {
        self.wake_at.is_none_or(|at| at <= now)
    }
}

impl StepState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Received => "received",
            Self::Processed => "processed",
            Self::Failed => "failed",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
            Self::CompensationFailed => "compensation_failed",
        }
    }
}
