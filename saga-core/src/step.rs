//! A step: an action, its compensation where it has one, and its policies.
//!
//! Typed outside, erased inside: an `async fn` goes in with its parameters'
//! types, and the executor sees only [`Call`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::context::{BoxFuture, FromContext, InputCheck, Read, StepContext, TypeKey};
use crate::definition::{StepKind, StepSpec};
use crate::failure::Failure;
use crate::payload::Payload;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::retry::RetryPolicy;

/// Default time of one attempt: 3 s (the source design's figure).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// An action or a compensation, erased: the only thing the executor calls.
///
/// Implemented for functions through [`Step`]'s constructors. Implement it
/// yourself for a step whose shape is known only at run time, such as an HTTP call.
pub trait Call: Send + Sync + 'static {
    /// Makes one attempt.
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>>;
}

/// A function that can serve as an action or a compensation.
///
/// Implemented for every `Fn(A, B, ..) -> impl Future<Output = Result<Out, E>>`
/// of up to six parameters that implement [`FromContext`]; `E` is anything that
/// turns into a [`Failure`]. State such as clients and pools is captured: a
/// closure clones it and returns an `async move` block, as in
/// `move |Input(order): Input<Order>| { let stock = stock.clone(); async move { stock.take(order).await } }`.
///
/// What a parameter cannot be is refused where the step is defined:
///
/// ```compile_fail,E0277
/// # use saga_core::{Failure, Step};
/// async fn reserve(sku: String) -> Result<(), Failure> { Ok(()) }
/// let step = Step::pivot("reserve", reserve); // expected: Input(sku): Input<String>
/// ```
#[diagnostic::on_unimplemented(
    message = "this function cannot serve as an action or a compensation",
    label = "not an `async fn` of extracted parameters that gives a `Result`",
    note = "each of its up to six parameters is an `Input<T>`, an `Output<T>`, an `Option<Output<T>>` or a `StepContext`, where `T: DeserializeOwned + Send`",
    note = "it returns a future that is `Send`, of a `Result<Out, E>` with `Out: Serialize` and `E: Into<Failure>`; a compensation gives `()`",
    note = "a closure is `Fn`, `Send`, `Sync` and `'static`: clone what it captures and return an `async move` block"
)]
pub trait Handler<Args, Out>: Send + Sync + 'static {
    /// What the parameters read.
    fn reads() -> Vec<Read>;

    /// Calls the function with parameters taken from the context.
    fn handle(&self, context: &StepContext) -> BoxFuture<Result<Payload, Failure>>;
}

macro_rules! handlers {
    ($($($arg:ident)*;)*) => {$(
        impl<F, Fut, Out, E, $($arg),*> Handler<($($arg,)*), Out> for F
        where
            F: Fn($($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Out, E>> + Send + 'static,
            Out: Serialize + 'static,
            E: Into<Failure>,
            $($arg: FromContext,)*
        {
            fn reads() -> Vec<Read> {
                vec![$($arg::read()),*]
            }

            #[allow(non_snake_case, unused_variables, reason = "parameters are named by their types, and a function may have none")]
            fn handle(&self, context: &StepContext) -> BoxFuture<Result<Payload, Failure>> {
                $(let $arg = match $arg::from_context(context) {
                    Ok(value) => value,
                    Err(failure) => {
                        let uncalled = Err(Failure::uncallable(&failure));
                        return Box::pin(std::future::ready(uncalled));
                    }
                };)*
                let answer = self($($arg),*);
                Box::pin(async move { Ok(Payload::encode(&answer.await.map_err(Into::into)?)?) })
            }
        }
    )*};
}

handlers! {
    ;
    A;
    A B;
    A B C;
    A B C D;
    A B C D G;
    A B C D G H;
}

/// Erases a handler.
struct HandlerCall<H, Args, Out>(H, std::marker::PhantomData<fn(Args) -> Out>);

impl<H, Args, Out> Call for HandlerCall<H, Args, Out>
where
    H: Handler<Args, Out>,
    Args: 'static,
    Out: 'static,
{
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        self.0.handle(&context)
    }
}

/// The code of one step.
#[derive(Clone)]
pub struct StepCalls {
    /// The action.
    pub action: Arc<dyn Call>,
    /// The compensation; only compensatable steps have one.
    pub compensation: Option<Arc<dyn Call>>,
    /// The Rust type the action returns.
    pub gives: TypeKey,
}

impl fmt::Debug for StepCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepCalls").field("gives", &self.gives).finish_non_exhaustive()
    }
}

/// A step under construction; see [`crate::Definition`] for a whole saga.
#[derive(Debug)]
pub struct Step {
    name: String,
    kind: StepKind,
    participant: Option<String>,
    timeout: Duration,
    retry: RetryPolicy,
    compensation_timeout: Duration,
    compensation_retry: RetryPolicy,
    breaker: BreakerPolicy,
    calls: StepCalls,
    action_reads: Vec<Read>,
    compensation_reads: Vec<Read>,
}

impl Step {
    /// A step whose effect can be undone by `compensation`.
    pub fn compensatable<A, C, Out, AArgs, CArgs>(
        name: impl Into<String>,
        action: A,
        compensation: C,
    ) -> Self
    where
        A: Handler<AArgs, Out>,
        C: Handler<CArgs, ()>,
        AArgs: 'static,
        CArgs: 'static,
        Out: Any,
    {
        let mut step = Self::of_kind(name, StepKind::Compensatable, action);
        step.compensation_reads = C::reads();
        step.calls.compensation =
            Some(Arc::new(HandlerCall(compensation, std::marker::PhantomData)));
        step
    }

    /// The last step that may be refused: once processed, the saga only goes forward.
    pub fn pivot<A, Out, Args>(name: impl Into<String>, action: A) -> Self
    where
        A: Handler<Args, Out>,
        Args: 'static,
        Out: Any,
    {
        Self::of_kind(name, StepKind::Pivot, action)
    }

    /// A step after the pivot, which must succeed in the end.
    pub fn retriable<A, Out, Args>(name: impl Into<String>, action: A) -> Self
    where
        A: Handler<Args, Out>,
        Args: 'static,
        Out: Any,
    {
        Self::of_kind(name, StepKind::Retriable, action)
    }

    /// A compensatable step of erased calls, with outputs of type `Out`.
    pub fn compensatable_calls<Out: Any>(
        name: impl Into<String>,
        action: impl Call,
        compensation: impl Call,
    ) -> Self {
        let mut step = Self::calls_of_kind::<Out>(name, StepKind::Compensatable, Arc::new(action));
        step.calls.compensation = Some(Arc::new(compensation));
        step
    }

    /// A pivot of an erased call, with outputs of type `Out`.
    pub fn pivot_call<Out: Any>(name: impl Into<String>, action: impl Call) -> Self {
        Self::calls_of_kind::<Out>(name, StepKind::Pivot, Arc::new(action))
    }

    /// A retriable step of an erased call, with outputs of type `Out`.
    pub fn retriable_call<Out: Any>(name: impl Into<String>, action: impl Call) -> Self {
        Self::calls_of_kind::<Out>(name, StepKind::Retriable, Arc::new(action))
    }

    fn of_kind<A, Out, Args>(name: impl Into<String>, kind: StepKind, action: A) -> Self
    where
        A: Handler<Args, Out>,
        Args: 'static,
        Out: Any,
    {
        let call = HandlerCall(action, std::marker::PhantomData);
        let mut step = Self::calls_of_kind::<Out>(name, kind, Arc::new(call));
        step.action_reads = A::reads();
        step
    }

    fn calls_of_kind<Out: Any>(
        name: impl Into<String>,
        kind: StepKind,
        action: Arc<dyn Call>,
    ) -> Self {
        let retry = match kind {
            StepKind::Compensatable => RetryPolicy::ACTION,
            StepKind::Pivot | StepKind::Retriable => RetryPolicy::PERSISTENT,
        };
        Self {
            name: name.into(),
            kind,
            participant: None,
            timeout: TIMEOUT_DEFAULT,
            retry,
            compensation_timeout: TIMEOUT_DEFAULT,
            compensation_retry: RetryPolicy::PERSISTENT,
            breaker: BreakerPolicy::default(),
            calls: StepCalls { action, compensation: None, gives: TypeKey::of::<Out>() },
            action_reads: Vec::new(),
            compensation_reads: Vec::new(),
        }
    }

    /// Whom the step calls. Steps that name the same participant share its breaker. Default: the step's own name.
    #[must_use]
    pub fn participant(mut self, participant: impl Into<String>) -> Self {
        self.participant = Some(participant.into());
        self
    }

    /// How long one attempt of the action may take. Default 3 s, at most an hour.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often the action is tried. Default: [`RetryPolicy::ACTION`], for pivots
    /// and retriable steps [`RetryPolicy::PERSISTENT`].
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt of the compensation may take. Default 3 s, at most an hour.
    #[must_use]
    pub fn compensation_timeout(mut self, timeout: Duration) -> Self {
        self.compensation_timeout = timeout;
        self
    }

    /// How often the compensation is tried before a person is asked. Default: [`RetryPolicy::PERSISTENT`].
    #[must_use]
    pub fn compensation_retry(mut self, retry: RetryPolicy) -> Self {
        self.compensation_retry = retry;
        self
    }

    /// When the participant is left alone.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerPolicy) -> Self {
        self.breaker = breaker;
        self
    }

    pub(crate) fn spec(&self, stage: u16) -> StepSpec {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        StepSpec {
            name: self.name.clone(),
            kind: self.kind,
            stage,
            participant: self.participant.clone().unwrap_or_else(|| self.name.clone()),
            timeout_ms: ms(self.timeout),
            retry: self.retry.clone(),
            compensation_timeout_ms: ms(self.compensation_timeout),
            compensation_retry: self.compensation_retry.clone(),
            breaker: self.breaker.clone(),
        }
    }

    pub(crate) fn gives(&self) -> TypeKey {
        self.calls.gives
    }

    pub(crate) fn action_reads(&self) -> &[Read] {
        &self.action_reads
    }

    pub(crate) fn compensation_reads(&self) -> &[Read] {
        &self.compensation_reads
    }

    pub(crate) fn input_checks(&self) -> impl Iterator<Item = InputCheck> {
        self.action_reads.iter().chain(&self.compensation_reads).filter_map(|read| match read {
            Read::Input { check } => Some(*check),
            Read::Output { .. } | Read::Nothing => None,
        })
    }

    pub(crate) fn into_calls(self) -> StepCalls {
        self.calls
    }
}
