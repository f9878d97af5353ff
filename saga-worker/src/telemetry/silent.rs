//! The same as `otel.rs` for a program without OpenTelemetry: some lines of the log.

use std::sync::Weak;
use std::time::Duration;

use saga_core::{Failure, Payload, Saga, StepContext, StuckReason};

use super::*;
use crate::runtime::Runtime;

#[derive(Debug)]
pub(crate) struct Telemetry {}

impl Telemetry {
    pub(crate) fn new(_: &str, _: TraceRatio) -> Self {
        Self {}
    }

    pub(crate) fn observe(&self, _: &Weak<Runtime>) {}
    pub(crate) fn started(&self, _: &Saga) {}
    pub(crate) fn ended(&self, _: &Saga, _: Duration) {}
    pub(crate) fn stuck(&self, _: &str, _: &StuckReason) {}
    pub(crate) fn taken_over(&self, _: &Saga) {}
    pub(crate) fn claimed(&self, _: &str, _: Duration) {}
    pub(crate) fn lease_failed(&self, _: &'static str) {}
    pub(crate) fn store_failed(&self, _: &'static str) {}

    pub(crate) fn forgotten(&self, sagas: u32) {
        tracing::debug!(sagas, "deleted ended sagas for their age");
    }

    pub(crate) fn attempted(
        &self,
        context: &StepContext,
        result: &Result<Payload, Failure>,
        took: Duration,
    ) {
        let (saga_id, step) = (context.saga_id, &context.step);
        let (step_type, outcome) = (step_type(context.op), outcome(result.as_ref()));
        tracing::trace!(%saga_id, %step, step_type, outcome, ?took, "attempt");
    }

    /// Nobody records traces.
    pub(crate) fn trace(&self, _: &Saga) -> Option<Trace> {
        None
    }

    pub(crate) fn tell_attempt(&self, saga: &Saga, trace: &Trace, finished: &Finished) {
        let span = trace.context(trace.attempt(finished.call, finished.attempt));
        tracing::trace!(saga_id = %saga.id(), span, caller = trace.caller, ?finished, "attempt on record");
    }

    pub(crate) fn tell_saga(&self, saga: &Saga, trace: &Trace, milestones: &[Milestone]) {
        let span = trace.context(trace.root);
        tracing::trace!(saga_id = %saga.id(), span, ?milestones, "saga on record");
    }
}
