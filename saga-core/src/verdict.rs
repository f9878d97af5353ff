//! The verdict: computed from the ledger of effects, never assigned.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::saga::Phase;

/// What is known of a step's effect at its participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It never happened: not called, or refused for certain.
    None,
    /// It happened.
    Present,
    /// It may or may not have happened.
    Unknown,
    /// It was undone, or never happened and its compensation made sure of that.
    Undone,
}

/// How a saga ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Verdict {
    /// It went forward to the end: every step's effect is present, and none was to be undone.
    Completed,
    /// Every step that may have had an effect has been compensated.
    Compensated,
    /// Ended by an operator, who gave it up or left compensations out: these effects remain, or
    /// may remain.
    Stopped {
        /// What remains, in step order.
        remaining: Vec<Remaining>,
    },
}

/// An effect that a stopped saga leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// The step's name.
    pub step: String,
    /// [`Effect::Present`] or [`Effect::Unknown`].
    pub effect: Effect,
}

impl Verdict {
    /// Computes the verdict from the direction in which the saga moved last and the effect of
    /// every step, given as (name, effect).
    ///
    /// A saga that turned backward was asked to undo its effects, so it is never completed: if
    /// they are all still there when it ends, all of them remain.
    pub fn compute<'a>(
        phase: Phase,
        effects: impl IntoIterator<Item = (&'a str, Effect)> + Clone,
    ) -> Self {
        let whole = effects.clone().into_iter().all(|(_, effect)| effect == Effect::Present);
        if phase == Phase::Forward && whole {
            return Self::Completed;
        }
        let remaining: Vec<_> = effects
            .into_iter()
            .filter(|(_, effect)| matches!(effect, Effect::Present | Effect::Unknown))
            .map(|(step, effect)| Remaining { step: step.to_owned(), effect })
            .collect();
        if remaining.is_empty() { Self::Compensated } else { Self::Stopped { remaining } }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Compensated => f.write_str("compensated"),
            Self::Stopped { remaining } => {
                let steps: Vec<_> = remaining.iter().map(|r| r.step.as_str()).collect();
                write!(f, "stopped, effects that remain: {}", steps.join(", "))
            }
        }
    }
}
