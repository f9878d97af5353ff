//! The verdict: computed from the ledger of effects, never assigned.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// Every step's effect is present.
    Completed,
    /// Every step that may have had an effect has been compensated.
    Compensated,
    /// Given up by an operator: these effects remain, or may remain.
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
    /// Computes the verdict from the effect of every step, given as (name, effect).
    pub fn compute<'a>(effects: impl IntoIterator<Item = (&'a str, Effect)> + Clone) -> Self {
        if effects.clone().into_iter().all(|(_, effect)| effect == Effect::Present) {
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
