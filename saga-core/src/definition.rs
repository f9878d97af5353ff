//! What a saga of one kind consists of: a named, versioned list of steps.

mod check;
mod difference;
mod spec;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use check::{DefinitionError, Fault};
pub use spec::{DefinitionRef, DefinitionSpec, StepKind, StepSpec};

use crate::context::InputCheck;
use crate::id::StepIndex;
use crate::payload::{Payload, PayloadError};
use crate::step::{Step, StepCalls};

/// A checked saga definition: its [`DefinitionSpec`] and the code of its steps.
///
/// ```
/// use saga_core::{Definition, Failure, Input, Output, Step};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Trip { city: String }
/// #[derive(Serialize, Deserialize)]
/// struct Room { number: u32 }
///
/// async fn book(Input(trip): Input<Trip>) -> Result<Room, Failure> {
///     Ok(Room { number: trip.city.len() as u32 })
/// }
/// // A compensation must bear an action that never happened: its output is an `Option`.
/// async fn cancel(room: Option<Output<Room>>) -> Result<(), Failure> {
///     Ok(drop(room))
/// }
/// async fn charge(Output(room): Output<Room>) -> Result<(), Failure> {
///     println!("paid for room {}", room.number);
///     Ok(())
/// }
///
/// let trip = Definition::new("book-trip", [
///     Step::compensatable("book-room", book, cancel),
///     Step::pivot("charge-card", charge),
/// ])?;
/// assert_eq!(trip.spec().steps.len(), 2);
/// # Ok::<(), saga_core::DefinitionError>(())
/// ```
#[derive(Clone)]
pub struct Definition {
    spec: Arc<DefinitionSpec>,
    calls: Arc<[StepCalls]>,
    input_checks: Arc<[InputCheck]>,
    /// By step: what those who read its output make of it.
    output_checks: Arc<[Vec<InputCheck>]>,
}

impl Definition {
    /// A definition of version 1 without a deadline.
    ///
    /// # Errors
    /// [`DefinitionError`] naming every fault at once.
    pub fn new(
        name: impl Into<String>,
        steps: impl IntoIterator<Item = impl Into<Stage>>,
    ) -> Result<Self, DefinitionError> {
        Self::builder(name).stages(steps).build()
    }

    /// Starts a definition that names a version or a deadline.
    pub fn builder(name: impl Into<String>) -> DefinitionBuilder {
        DefinitionBuilder { name: name.into(), version: 1, deadline: None, stages: Vec::new() }
    }

    /// The definition as data.
    pub fn spec(&self) -> &Arc<DefinitionSpec> {
        &self.spec
    }

    /// The code of a step. `None` when the definition has no such step.
    pub fn calls(&self, step: StepIndex) -> Option<&StepCalls> {
        self.calls.get(step.usize())
    }

    /// Checks that an input is what the steps read.
    ///
    /// # Errors
    /// The first mismatch, with the Rust type that was wanted.
    pub fn check_input(&self, input: &Payload) -> Result<(), PayloadError> {
        self.input_checks.iter().try_for_each(|check| check(input))
    }

    /// Checks that a value can stand for the output of a step: that everyone who reads that
    /// output can read it. What nobody reads with a type of its own may be anything.
    ///
    /// # Errors
    /// The first mismatch, with the Rust type that was wanted.
    pub fn check_output(&self, step: StepIndex, output: &Payload) -> Result<(), PayloadError> {
        let checks = self.output_checks.get(step.usize()).map_or(&[][..], Vec::as_slice);
        checks.iter().try_for_each(|check| check(output))
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// One step, or several that run in parallel. Made by [`From<Step>`](Step) and [`parallel`].
#[derive(Debug)]
pub struct Stage(Vec<Step>);

impl From<Step> for Stage {
    fn from(step: Step) -> Self {
        Self(vec![step])
    }
}

/// Steps that run at the same time; the next stage begins when all are processed.
///
/// All must be compensatable, or all retriable. They compensate in parallel too.
///
/// ```
/// use saga_core::{parallel, Definition, Failure, Step};
/// async fn work() -> Result<(), Failure> { Ok(()) }
///
/// let definition = Definition::new("prepare", [
///     parallel([Step::compensatable("left", work, work), Step::compensatable("right", work, work)]),
///     Step::pivot("decide", work).into(),
/// ])?;
/// assert_eq!(definition.spec().steps[1].stage, 0);
/// # Ok::<(), saga_core::DefinitionError>(())
/// ```
pub fn parallel(steps: impl IntoIterator<Item = Step>) -> Stage {
    Stage(steps.into_iter().collect())
}

/// Collects the parts of a [`Definition`].
#[derive(Debug)]
pub struct DefinitionBuilder {
    name: String,
    version: u32,
    deadline: Option<Duration>,
    stages: Vec<Stage>,
}

impl DefinitionBuilder {
    /// The version, from 1 on. Running sagas stay on the version they started with.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// How long after its start backward recovery begins, unless the pivot was handed out.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Adds a step, or a group made by [`parallel`].
    #[must_use]
    pub fn step(mut self, stage: impl Into<Stage>) -> Self {
        self.stages.push(stage.into());
        self
    }

    /// Adds several.
    #[must_use]
    pub fn stages(mut self, stages: impl IntoIterator<Item = impl Into<Stage>>) -> Self {
        self.stages.extend(stages.into_iter().map(Into::into));
        self
    }

    /// Checks everything and builds.
    ///
    /// # Errors
    /// [`DefinitionError`] naming every fault at once.
    pub fn build(self) -> Result<Definition, DefinitionError> {
        let mut faults = Vec::new();
        let mut specs = Vec::new();
        let mut steps = Vec::new();
        for (stage, group) in self.stages.into_iter().enumerate() {
            if group.0.is_empty() {
                faults.push(Fault::EmptyGroup { stage });
            }
            for step in group.0 {
                specs.push(step.spec(u16::try_from(stage).unwrap_or(u16::MAX)));
                steps.push(step);
            }
        }
        let deadline_ms = self.deadline.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        let spec =
            DefinitionSpec { name: self.name, version: self.version, deadline_ms, steps: specs };
        faults.extend(spec.faults());
        faults.extend(check::reads(&spec, &steps));
        if !faults.is_empty() {
            return Err(DefinitionError { name: spec.name, faults });
        }
        let input_checks = steps.iter().flat_map(Step::input_checks).collect();
        let output_checks = check::readers(&spec, &steps).into();
        let calls = steps.into_iter().map(Step::into_calls).collect();
        Ok(Definition { spec: Arc::new(spec), calls, input_checks, output_checks })
    }
}
