//! What an action or a compensation is given, and how it asks for the parts it needs.

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::id::{IdempotencyKey, SagaId};
use crate::payload::{Payload, PayloadError};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Which half of a step a call belongs to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The local transaction.
    Action,
    /// Its semantic undo.
    Compensation,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Compensation => "compensation",
        })
    }
}

/// One attempt at a call: who asks, under which key, and with what.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The saga.
    pub saga_id: SagaId,
    /// The definition's name.
    pub saga: Arc<str>,
    /// The step's name.
    pub step: Arc<str>,
    /// Action or compensation.
    pub op: Op,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// The Rust type the step's own action returns.
    pub gives: TypeKey,
    /// The saga's input.
    pub input: Payload,
    /// Outputs of the steps processed so far, in step order; in a compensation the step's own too.
    pub outputs: Vec<StepOutput>,
    /// Fires when the answer is no longer wanted: timeout, cancel, lost lease, end of the drain.
    pub cancellation: Cancellation,
    /// W3C trace context to hand on, if the saga has one.
    pub traceparent: Option<String>,
}

/// The output of one processed step.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// The step's name.
    pub step: Arc<str>,
    /// The Rust type its action returns.
    pub gives: TypeKey,
    /// The output.
    pub value: Payload,
}

impl StepContext {
    /// The key to send with the call: the same for all attempts of an action,
    /// another one for its compensation.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey::new(format!("{}:{}:{}", self.saga_id, self.step, self.op))
            .expect("a UUID, a checked step name and a fixed word are short and printable")
    }

    /// The output of this type. In a compensation the step's own type means its own output only:
    /// that of an earlier step must not stand in for it.
    fn output_of_type(&self, wanted: TypeKey) -> Option<&StepOutput> {
        let own = self.op == Op::Compensation && self.gives == wanted;
        self.outputs.iter().find(|output| match own {
            true => output.step == self.step,
            false => output.gives == wanted,
        })
    }
}

/// A Rust type as data: told apart by identity, shown by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeKey {
    id: TypeId,
    name: &'static str,
}

impl TypeKey {
    /// The key of a type.
    pub fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }

    /// The type's name for messages.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// Checks that a saga's input, or a step's output, can be read as the type some step wants.
pub type InputCheck = fn(&Payload) -> Result<(), PayloadError>;

/// What a parameter of an action or compensation reads, so that a definition can be checked.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// The saga's input.
    Input {
        /// Tries to decode an input.
        check: InputCheck,
    },
    /// The output of an earlier step, found by its type.
    Output {
        /// The type.
        wanted: TypeKey,
        /// Whether it must be there.
        certain: bool,
        /// Tries to decode an output.
        check: InputCheck,
    },
    /// Nothing that could be missing.
    Nothing,
}

/// A parameter of an action or compensation.
///
/// Implemented for [`Input`], [`Output`], `Option<Output<_>>` and [`StepContext`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a parameter of an action or a compensation",
    label = "not a parameter that a step can be given",
    note = "take an `Input<T>`, an `Output<T>`, an `Option<Output<T>>` or a `StepContext`"
)]
pub trait FromContext: Sized + Send + 'static {
    /// What it reads.
    fn read() -> Read;

    /// Takes it out of the context.
    ///
    /// # Errors
    /// A [`Failure`] when the recorded value is not of the wanted type. Since the function is
    /// then not called, the attempt counts as rejected, whichever failure it is.
    fn from_context(context: &StepContext) -> Result<Self, Failure>;
}

/// The saga's input, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input<T>(pub T);

/// The output of an earlier step, found by its type; in a compensation first of all the step's own.
///
/// Each step should return a type of its own: a definition in which a read is
/// missing or ambiguous is refused when it is built. A compensation takes its
/// own output as `Option<Output<T>>`, because its action may never have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromContext for Input<T> {
    fn read() -> Read {
        Read::Input { check: |input| input.decode::<T>().map(drop) }
    }

    fn from_context(context: &StepContext) -> Result<Self, Failure> {
        Ok(Self(context.input.decode()?))
    }
}

impl<T: DeserializeOwned + Send + 'static> FromContext for Output<T> {
    fn read() -> Read {
        let check = |output: &Payload| output.decode::<T>().map(drop);
        Read::Output { wanted: TypeKey::of::<T>(), certain: true, check }
    }

    fn from_context(context: &StepContext) -> Result<Self, Failure> {
        let wanted = TypeKey::of::<T>();
        let output = context.output_of_type(wanted).ok_or_else(|| {
            Failure::transient(format_args!("no earlier step has given a {}", wanted.name()))
        })?;
        Ok(Self(output.value.decode()?))
    }
}

impl<T: DeserializeOwned + Send + 'static> FromContext for Option<Output<T>> {
    fn read() -> Read {
        let check = |output: &Payload| output.decode::<T>().map(drop);
        Read::Output { wanted: TypeKey::of::<T>(), certain: false, check }
    }

    fn from_context(context: &StepContext) -> Result<Self, Failure> {
        let found = context.output_of_type(TypeKey::of::<T>());
        found.map(|output| Ok(Output(output.value.decode()?))).transpose()
    }
}

impl FromContext for StepContext {
    fn read() -> Read {
        Read::Nothing
    }

    fn from_context(context: &StepContext) -> Result<Self, Failure> {
        Ok(context.clone())
    }
}

/// Tells a running call that its answer is no longer wanted.
#[derive(Clone)]
pub struct Cancellation(Arc<dyn CancelSignal>);

/// Where a [`Cancellation`] comes from; the worker backs it by its token tree.
pub trait CancelSignal: Send + Sync + 'static {
    /// Whether it has fired.
    fn is_cancelled(&self) -> bool;

    /// Resolves when it fires.
    fn cancelled(&self) -> BoxFuture<()>;
}

impl Cancellation {
    /// Wraps a signal.
    pub fn new(signal: impl CancelSignal) -> Self {
        Self(Arc::new(signal))
    }

    /// One that never fires.
    pub fn never() -> Self {
        Self::new(Never)
    }

    /// Whether it has fired.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it fires.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancellation").field(&self.is_cancelled()).finish()
    }
}

struct Never;

impl CancelSignal for Never {
    fn is_cancelled(&self) -> bool {
        false
    }

    fn cancelled(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}
