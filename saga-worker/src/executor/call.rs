//! Making one attempt: timeout, cancellation, panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use saga_core::{
    BoxFuture, Call, CallResult, CancelSignal, Cancellation, Failure, Op, Payload, PlannedCall,
    Saga, StepContext, StepOutput, TransientCause,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Executor, Outcome};
use crate::faults;
use crate::lease::Tenure;
use crate::runtime::Runtime;

/// One attempt, ready to be made.
pub(super) struct Attempt {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    call: Arc<dyn Call>,
    context: StepContext,
    cancel: CancellationToken,
    timeout: Duration,
    epoch: u64,
}

impl Executor {
    pub(super) fn attempt(&self, planned: PlannedCall, cancel: CancellationToken) -> Attempt {
        let (saga, step) = (&self.saga, self.saga.spec().step(planned.step));
        let ledger = &saga.steps()[planned.step.usize()];
        let calls = self.definition.calls(planned.step).expect("the saga runs this definition");
        let (call, attempt, timeout) = match planned.op {
            Op::Action => (calls.action.clone(), ledger.attempts, step.timeout()),
            Op::Compensation => {
                let compensation = calls.compensation.clone();
                let call = compensation.expect("only compensatable steps are compensated");
                (call, ledger.compensation_attempts, step.compensation_timeout())
            }
        };
        let context = StepContext {
            saga_id: saga.id(),
            saga: saga.spec().name.as_str().into(),
            step: step.name.as_str().into(),
            op: planned.op,
            attempt,
            gives: calls.gives,
            input: saga.started().input.clone(),
            outputs: self.outputs(saga),
            cancellation: Cancellation::new(Signal(cancel.clone())),
            traceparent: Some(self.telling.context(saga, planned, attempt)),
        };
        let (runtime, tenure, epoch) = (self.runtime.clone(), self.tenure.clone(), self.epoch);
        Attempt { runtime, tenure, call, context, cancel, timeout, epoch }
    }

    fn outputs(&self, saga: &Saga) -> Vec<StepOutput> {
        let outputs = saga.spec().indexes().filter_map(|index| {
            let value = saga.steps()[index.usize()].output.clone()?;
            let gives = self.definition.calls(index)?.gives;
            Some(StepOutput { step: saga.spec().name_of(index).into(), gives, value })
        });
        outputs.collect()
    }
}

impl Attempt {
    /// Makes the call and waits for its answer, at most for its timeout and a short grace.
    ///
    /// Right before, the right to make it is asked for once more: the lease may have run out
    /// while the intent was stored, or while this task had to wait for its turn.
    pub(super) async fn make(self) -> Outcome {
        if self.cancel.is_cancelled() {
            return Outcome::NotMade("it was called off before it was made");
        }
        if !self.tenure.holds() {
            return Outcome::NotMade("the worker's lease ran out before it was made");
        }
        let begun = Instant::now();
        let answer = self.answer().instrument(self.span()).await;
        let result = answer.and_then(|output| self.bounded(output));
        faults::called(self.context.op);
        self.runtime.telemetry.attempted(&self.context, &result, begun.elapsed());
        if let Err(failure) = &result {
            let StepContext { saga_id, step, op, attempt, .. } = &self.context;
            tracing::debug!(%saga_id, %step, %op, attempt, %failure, "attempt did not succeed");
        }
        Outcome::Answer(result)
    }

    /// What the step itself logs has the saga's id with it.
    fn span(&self) -> tracing::Span {
        let StepContext { saga_id, step, op, attempt, .. } = &self.context;
        tracing::info_span!("attempt", %saga_id, %step, %op, attempt)
    }

    async fn answer(&self) -> Result<Payload, Failure> {
        faults::calling(&self.context, self.epoch, self.runtime.now());
        // The call's first lines run inside too, so that a panic in them is caught as well.
        let call = async { self.call.call(self.context.clone()).await };
        let mut call = std::pin::pin!(AssertUnwindSafe(call).catch_unwind());
        let given_up = tokio::select! {
            biased;
            // First of all, at every step of the call: a process that was frozen past its lease
            // comes back in the middle of a call as well.
            given_up = self.unwanted() => given_up,
            answer = &mut call => return unless_panicked(answer),
            () = sleep(self.timeout) => {
                let message = format!("no answer within {} ms", self.timeout.as_millis());
                Failure::unknown(TransientCause::Timeout, message)
            }
        };
        // Told to stop, the call may still come to a clean end; after that its future is dropped.
        self.cancel.cancel();
        match timeout(self.runtime.options.cancel_grace, &mut call).await {
            Ok(answer) => match unless_panicked(answer) {
                Err(Failure::Transient(_)) => Err(given_up),
                known => known,
            },
            Err(_) => Err(given_up),
        }
    }

    /// Resolves when the call is called off. The lease is asked for whenever the call moves, and
    /// by the executor in between.
    async fn unwanted(&self) -> Failure {
        let mut called_off = std::pin::pin!(self.cancel.cancelled());
        std::future::poll_fn(|context| match self.tenure.holds() {
            true => called_off.as_mut().poll(context),
            false => std::task::Poll::Ready(()),
        })
        .await;
        Failure::unknown(TransientCause::Cancelled, "the answer was no longer wanted")
    }

    /// An output that could never be stored makes the outcome unknown, so that it is undone.
    fn bounded(&self, output: Payload) -> Result<Payload, Failure> {
        let bounded = output.within(self.runtime.options.payload_bytes_max);
        bounded.map_err(|error| {
            Failure::transient(format_args!("its output cannot be stored: {error}"))
        })
    }
}

type Caught = Result<Result<Payload, Failure>, Box<dyn std::any::Any + Send>>;

fn unless_panicked(answer: Caught) -> Result<Payload, Failure> {
    answer.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Failure::unknown(
            TransientCause::Panicked,
            text.unwrap_or_else(|| "panicked".to_owned()),
        ))
    })
}

/// What an answer says about the participant's health.
pub(super) fn health(result: &Result<Payload, Failure>) -> CallResult {
    match result {
        Err(Failure::Rejected(rejection)) if rejection.uncalled => CallResult::Abandoned,
        Ok(_) | Err(Failure::Rejected(_)) => CallResult::Answered,
        Err(Failure::Transient(transient)) => match transient.cause {
            TransientCause::Cancelled | TransientCause::WorkerLost => CallResult::Abandoned,
            TransientCause::Error
            | TransientCause::Timeout
            | TransientCause::Panicked
            | TransientCause::NotYet => CallResult::Failed,
        },
    }
}

/// A token of the worker's tree, as the core sees it.
struct Signal(CancellationToken);

impl CancelSignal for Signal {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn cancelled(&self) -> BoxFuture<()> {
        Box::pin(self.0.clone().cancelled_owned())
    }
}
