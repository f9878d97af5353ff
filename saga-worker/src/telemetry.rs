//! Every span, metric and attribute name of the worker, in one place.
//!
//! | name | kind | measures | attributes |
//! | --- | --- | --- | --- |
//! | `saga.attempt` | span | one attempt at an action or compensation | `saga.id`, `saga.name`, `saga.step.id`, `saga.step.type`, `attempt` |
//! | `saga.starts` | counter | sagas started by this process | `saga.name` |
//! | `saga.verdicts` | counter | sagas that ended here | `saga.name`, `saga.status` |
//! | `saga.stuck` | counter | sagas that got stuck here | `saga.name` |
//! | `saga.forgotten` | counter | ended sagas that this worker deleted for their age | none |
//! | `saga.verdict.duration` | histogram, s | start to verdict | `saga.name`, `saga.status` |
//! | `saga.attempt.duration` | histogram, s | one attempt | `saga.name`, `saga.step.id`, `saga.step.type`, `outcome` |
//!
//! `saga.step.type` is `execute` or `compensate`; `outcome` is `processed`,
//! `rejected` or `unknown`. With the `otel` feature spans and metrics go
//! through the OpenTelemetry API and are silent until the program installs an
//! SDK. Log lines go through `tracing` in any case.
//!
//! A saga's trace continues the caller's `traceparent`. Without one its trace id
//! is the saga's id, so all attempts on all workers, before and after a crash,
//! belong to one trace that anyone can find.

use std::time::Duration;

use saga_core::{Failure, Op, Payload, Saga, StepContext};

/// Span of one attempt.
pub const ATTEMPT: &str = "saga.attempt";
/// Counter of starts.
pub const STARTS: &str = "saga.starts";
/// Counter of verdicts.
pub const VERDICTS: &str = "saga.verdicts";
/// Counter of sagas that got stuck.
pub const STUCK: &str = "saga.stuck";
/// Counter of ended sagas deleted for their age.
pub const FORGOTTEN: &str = "saga.forgotten";
/// Histogram of the time from start to verdict, in seconds.
pub const VERDICT_DURATION: &str = "saga.verdict.duration";
/// Histogram of the time of one attempt, in seconds.
pub const ATTEMPT_DURATION: &str = "saga.attempt.duration";
/// Attribute: the saga's id.
pub const SAGA_ID: &str = "saga.id";
/// Attribute: the definition's name.
pub const SAGA_NAME: &str = "saga.name";
/// Attribute: the saga's status.
pub const SAGA_STATUS: &str = "saga.status";
/// Attribute: the step's name.
pub const STEP_ID: &str = "saga.step.id";
/// Attribute: `execute` or `compensate`.
pub const STEP_TYPE: &str = "saga.step.type";
/// Attribute: the number of the attempt.
pub const ATTEMPT_NUMBER: &str = "attempt";
/// Attribute: how an attempt ended.
pub const OUTCOME: &str = "outcome";

/// The value of [`STEP_TYPE`].
pub(crate) fn step_type(op: Op) -> &'static str {
    match op {
        Op::Action => "execute",
        Op::Compensation => "compensate",
    }
}

/// The W3C trace context a saga's attempts belong to.
pub(crate) fn traceparent(saga: &Saga) -> String {
    let derived = || {
        let id = saga.id().to_string().replace('-', "");
        format!("00-{id}-{}-01", &id[16..])
    };
    saga.started().traceparent.clone().unwrap_or_else(derived)
}

fn outcome(result: &Result<Payload, Failure>) -> &'static str {
    match result {
        Ok(_) => "processed",
        Err(Failure::Rejected(_)) => "rejected",
        Err(Failure::Transient(_)) => "unknown",
    }
}

#[cfg(feature = "otel")]
pub(crate) use otel::{AttemptSpan, Telemetry};
#[cfg(not(feature = "otel"))]
pub(crate) use silent::{AttemptSpan, Telemetry};

#[cfg(feature = "otel")]
mod otel {
    use super::*;
    use opentelemetry::metrics::{Counter, Histogram};
    use opentelemetry::trace::{
        Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
        Tracer,
    };
    use opentelemetry::{Context, KeyValue, global};

    /// The instruments of one worker.
    #[derive(Debug)]
    pub(crate) struct Telemetry {
        starts: Counter<u64>,
        verdicts: Counter<u64>,
        stuck: Counter<u64>,
        forgotten: Counter<u64>,
        verdict_duration: Histogram<f64>,
        attempt_duration: Histogram<f64>,
    }

    impl Default for Telemetry {
        fn default() -> Self {
            let meter = global::meter("saga-worker");
            let seconds = |name| meter.f64_histogram(name).with_unit("s").build();
            Self {
                starts: meter.u64_counter(STARTS).build(),
                verdicts: meter.u64_counter(VERDICTS).build(),
                stuck: meter.u64_counter(STUCK).build(),
                forgotten: meter.u64_counter(FORGOTTEN).build(),
                verdict_duration: seconds(VERDICT_DURATION),
                attempt_duration: seconds(ATTEMPT_DURATION),
            }
        }
    }

    impl Telemetry {
        pub(crate) fn started(&self, saga: &Saga) {
            self.starts.add(1, &[name_of(saga)]);
        }

        pub(crate) fn ended(&self, saga: &Saga, after: Duration) {
            let attributes = [name_of(saga), KeyValue::new(SAGA_STATUS, saga.status().as_str())];
            self.verdicts.add(1, &attributes);
            self.verdict_duration.record(after.as_secs_f64(), &attributes);
        }

        pub(crate) fn stuck(&self, saga: &Saga) {
            self.stuck.add(1, &[name_of(saga)]);
        }

        pub(crate) fn forgotten(&self, sagas: u32) {
            self.forgotten.add(sagas.into(), &[]);
        }

        pub(crate) fn attempted(
            &self,
            context: &StepContext,
            result: &Result<Payload, Failure>,
            took: Duration,
        ) {
            let attributes = [
                KeyValue::new(SAGA_NAME, context.saga.to_string()),
                KeyValue::new(STEP_ID, context.step.to_string()),
                KeyValue::new(STEP_TYPE, step_type(context.op)),
                KeyValue::new(OUTCOME, outcome(result)),
            ];
            self.attempt_duration.record(took.as_secs_f64(), &attributes);
        }
    }

    fn name_of(saga: &Saga) -> KeyValue {
        KeyValue::new(SAGA_NAME, saga.spec().name.clone())
    }

    /// The span of one attempt; it ends with [`AttemptSpan::end`], or unfinished when dropped.
    pub(crate) struct AttemptSpan(global::BoxedSpan);

    impl AttemptSpan {
        /// Starts a span below `traceparent`.
        pub(crate) fn start(context: &StepContext, traceparent: &str) -> Self {
            let tracer = global::tracer("saga-worker");
            let parent = match parse(traceparent) {
                Some(remote) => Context::new().with_remote_span_context(remote),
                None => Context::new(),
            };
            let attributes = vec![
                KeyValue::new(SAGA_ID, context.saga_id.to_string()),
                KeyValue::new(SAGA_NAME, context.saga.to_string()),
                KeyValue::new(STEP_ID, context.step.to_string()),
                KeyValue::new(STEP_TYPE, step_type(context.op)),
                KeyValue::new(ATTEMPT_NUMBER, i64::from(context.attempt)),
            ];
            let builder = tracer.span_builder(ATTEMPT).with_kind(SpanKind::Client);
            Self(builder.with_attributes(attributes).start_with_context(&tracer, &parent))
        }

        /// The context to hand to the participant: this span's, if an SDK gave it an identity.
        pub(crate) fn traceparent(&self) -> Option<String> {
            let own = self.0.span_context();
            let (trace, span) = (own.trace_id(), own.span_id());
            own.is_valid().then(|| format!("00-{trace}-{span}-{:02x}", own.trace_flags().to_u8()))
        }

        pub(crate) fn end(mut self, result: &Result<Payload, Failure>) {
            self.0.set_attribute(KeyValue::new(OUTCOME, outcome(result)));
            self.0.end();
        }
    }

    /// Reads a W3C `traceparent`: version, trace id, span id and flags in hexadecimal.
    fn parse(traceparent: &str) -> Option<SpanContext> {
        let mut parts = traceparent.split('-').skip(1);
        let trace = TraceId::from_hex(parts.next()?).ok()?;
        let span = SpanId::from_hex(parts.next()?).ok()?;
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default()))
    }
}

#[cfg(not(feature = "otel"))]
mod silent {
    use super::*;

    #[derive(Debug, Default)]
    pub(crate) struct Telemetry {}

    impl Telemetry {
        pub(crate) fn started(&self, _: &Saga) {}
        pub(crate) fn ended(&self, _: &Saga, _: Duration) {}
        pub(crate) fn stuck(&self, _: &Saga) {}
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
            let (step_type, outcome) = (step_type(context.op), outcome(result));
            tracing::trace!(%saga_id, %step, step_type, outcome, ?took, "attempt");
        }
    }

    pub(crate) struct AttemptSpan;

    impl AttemptSpan {
        pub(crate) fn start(_: &StepContext, _: &str) -> Self {
            Self
        }

        pub(crate) fn traceparent(&self) -> Option<String> {
            None
        }

        pub(crate) fn end(self, _: &Result<Payload, Failure>) {}
    }
}
