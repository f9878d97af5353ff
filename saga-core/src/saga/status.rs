//! Where a saga stands, in one word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Phase, Saga};
use crate::verdict::Verdict;

/// Where a saga stands, for queries and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Moving forward.
    Running,
    /// In backward recovery.
    Compensating,
    /// Alive, and needs a person.
    Stuck,
    /// Ended: every effect is present.
    Completed,
    /// Ended: every possible effect was undone.
    Compensated,
    /// Ended by an operator, with effects that remain.
    Stopped,
}

impl Saga {
    /// Where it stands.
    pub fn status(&self) -> Status {
        match (&self.ended, &self.stuck, self.phase) {
            (Some((_, Verdict::Completed)), ..) => Status::Completed,
            (Some((_, Verdict::Compensated)), ..) => Status::Compensated,
            (Some((_, Verdict::Stopped { .. })), ..) => Status::Stopped,
            (None, Some(_), _) => Status::Stuck,
            (None, None, Phase::Forward) => Status::Running,
            (None, None, Phase::Backward) => Status::Compensating,
        }
    }
}

impl Status {
    /// All of them, in the order of the life of a saga.
    pub const ALL: [Self; 6] = [
        Self::Running,
        Self::Compensating,
        Self::Stuck,
        Self::Completed,
        Self::Compensated,
        Self::Stopped,
    ];

    /// The word for it in SQL, JSON and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Stopped => "stopped",
        }
    }

    /// The status of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether the saga has not ended.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Compensating | Self::Stuck)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
