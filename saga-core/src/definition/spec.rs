//! A definition as data: what the state machine, the stores and the views need of it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::StepIndex;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::retry::RetryPolicy;

/// A saga definition without its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionSpec {
    /// Its name, as in URLs: lower-case letters, digits and hyphens.
    pub name: String,
    /// Its version, from 1 on.
    pub version: u32,
    /// How long after its start a saga turns backward, unless its pivot was handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Its steps in order; those of one stage are neighbours.
    pub steps: Vec<StepSpec>,
}

/// A step without its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name, unique within the definition.
    pub name: String,
    /// What may become of it.
    pub kind: StepKind,
    /// Steps with the same stage run in parallel; stages run one after the other.
    pub stage: u16,
    /// Whom it calls; steps that share a participant share its breaker.
    pub participant: String,
    /// How long one attempt of the action may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often the action is tried.
    pub retry: RetryPolicy,
    /// How long one attempt of the compensation may take, in milliseconds.
    pub compensation_timeout_ms: u64,
    /// How often the compensation is tried before a person is asked.
    pub compensation_retry: RetryPolicy,
    /// When its participant is left alone.
    #[serde(default)]
    pub breaker: BreakerPolicy,
}

/// What may become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Its effect can be undone by its compensation.
    Compensatable,
    /// The last step that may be refused; once it is processed the saga only goes forward.
    Pivot,
    /// After the pivot; must succeed in the end.
    Retriable,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compensatable => "compensatable",
            Self::Pivot => "pivot",
            Self::Retriable => "retriable",
        })
    }
}

/// Which definition a saga was started with; pinned in its first event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DefinitionRef {
    /// The definition's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Digest of its structure: see [`DefinitionSpec::digest`].
    pub digest: Digest,
}

impl fmt::Display for DefinitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

impl DefinitionSpec {
    /// The reference a saga pins.
    pub fn reference(&self) -> DefinitionRef {
        DefinitionRef { name: self.name.clone(), version: self.version, digest: self.digest() }
    }

    /// Digest of what a running saga depends on: names, kinds, order and groups of the steps.
    ///
    /// Policies (timeouts, retries, breaker, deadline) are left out on purpose:
    /// an operator may tune them under the same version, because what they
    /// decided is in the log and replaying it asks no policy.
    pub fn digest(&self) -> Digest {
        let structure: Vec<String> = self
            .steps
            .iter()
            .map(|step| format!("{}\u{1f}{}\u{1f}{}", step.name, step.kind, step.stage))
            .collect();
        let version = self.version.to_string();
        let mut parts = vec![self.name.as_bytes(), version.as_bytes()];
        parts.extend(structure.iter().map(String::as_bytes));
        Digest::of(&parts)
    }

    /// A step's data.
    ///
    /// # Panics
    /// When the index is not of this definition; indexes come from the
    /// definition itself or from a log that [`crate::Saga::replay`] has checked.
    pub fn step(&self, step: StepIndex) -> &StepSpec {
        &self.steps[step.usize()]
    }

    /// A step's name, for messages; `"?"` when there is no such step.
    pub fn name_of(&self, step: StepIndex) -> &str {
        self.steps.get(step.usize()).map_or("?", |step| &step.name)
    }

    /// The position of the step with this name.
    pub fn find(&self, name: &str) -> Option<StepIndex> {
        self.indexes().find(|index| self.step(*index).name == name)
    }

    /// All positions, in order.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = StepIndex> + use<> {
        (0..u16::try_from(self.steps.len()).unwrap_or(u16::MAX)).map(StepIndex)
    }

    /// Positions of the steps of one stage.
    pub(crate) fn stage(&self, stage: u16) -> impl Iterator<Item = StepIndex> + use<> {
        let first = self.steps.partition_point(|step| step.stage < stage);
        let end = self.steps.partition_point(|step| step.stage <= stage);
        let range: Range<u16> = first as u16..end as u16;
        range.map(StepIndex)
    }
}

impl StepSpec {
    /// How long one attempt of the action may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long one attempt of the compensation may take.
    pub fn compensation_timeout(&self) -> Duration {
        Duration::from_millis(self.compensation_timeout_ms)
    }
}
