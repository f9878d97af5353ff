//! Spans through the OpenTelemetry API, under ids that were decided beforehand.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{
    Event, Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt,
    TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use saga_core::{Saga, Timestamp, Verdict};

use super::{
    ATTEMPT, CAUSE, Finished, Milestone, OUTCOME, SAGA_ID, SAGA_NAME, SAGA_SPAN, SAGA_STATUS,
    SAGA_VERSION, STEP_ID, STEP_TYPE, TEXT, Trace, WORKER, step_type,
};

thread_local! {
    /// The ids of the span that is being made on this thread.
    static PLANNED: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// The trace id that the worker wants for the span that is being made on this thread; for the
/// `IdGenerator` of an SDK, which asks here before it makes one up.
pub fn planned_trace_id() -> Option<TraceId> {
    PLANNED.get().map(|(trace, _)| trace)
}

/// The span id that the worker wants for the span that is being made on this thread; see
/// [`planned_trace_id`].
pub fn planned_span_id() -> Option<SpanId> {
    PLANNED.get().map(|(_, span)| span)
}

/// Makes the spans of one worker.
pub(super) struct Spans {
    tracer: BoxedTracer,
    worker: String,
}

impl Spans {
    /// `None` when the program has installed no SDK.
    pub(super) fn installed(worker: &str) -> Option<Self> {
        let tracer = global::tracer("saga-worker");
        // Without an SDK a span is its parent once more; with one, nothing comes of a span while
        // telemetry is suppressed, so that this look leaves no trace.
        let parent = remote(1, 1, false).with_telemetry_suppressed();
        let probe = SpanBuilder::from_name("probe").start_with_context(&tracer, &parent);
        let installed = !probe.span_context().is_valid();
        installed.then(|| Self { tracer, worker: worker.to_owned() })
    }

    /// The span of an attempt.
    pub(super) fn attempt(&self, saga: &Saga, trace: &Trace, finished: &Finished) {
        let Finished { call, attempt, outcome, .. } = finished;
        let (step, kind) = (saga.spec().name_of(call.step), step_type(call.op));
        let mut attributes = vec![
            KeyValue::new(SAGA_ID, saga.id().to_string()),
            KeyValue::new(SAGA_NAME, saga.spec().name.clone()),
            KeyValue::new(STEP_ID, step.to_owned()),
            KeyValue::new(STEP_TYPE, kind),
            KeyValue::new(SAGA_STATUS, finished.status.as_str()),
            KeyValue::new(ATTEMPT, i64::from(*attempt)),
            KeyValue::new(OUTCOME, *outcome),
            KeyValue::new(WORKER, self.worker.clone()),
        ];
        attributes.extend(finished.cause.map(|cause| KeyValue::new(CAUSE, cause)));
        let link = finished.follows.map(|(call, attempt)| {
            Link::with_context(context(trace.id, trace.attempt(call, attempt), trace.sampled))
        });
        let builder = SpanBuilder::from_name(format!("{kind} {step}"))
            .with_kind(SpanKind::Client)
            .with_start_time(time(finished.begun))
            .with_attributes(attributes)
            .with_links(link.into_iter().collect());
        let status = finished.said.clone().map_or(Status::Unset, Status::error);
        let (span, parent) =
            (trace.attempt(*call, *attempt), remote(trace.id, trace.root, trace.sampled));
        self.make(builder, trace.id, span, &parent, status, finished.ended);
    }

    /// The span of a saga that has its verdict.
    pub(super) fn saga(&self, saga: &Saga, trace: &Trace, milestones: &[Milestone]) {
        let Some((ended, verdict)) = saga.ended() else { return };
        let attributes = vec![
            KeyValue::new(SAGA_ID, saga.id().to_string()),
            KeyValue::new(SAGA_NAME, saga.spec().name.clone()),
            KeyValue::new(SAGA_VERSION, i64::from(saga.spec().version)),
            KeyValue::new(SAGA_STATUS, saga.status().as_str()),
            KeyValue::new(WORKER, self.worker.clone()),
        ];
        let event = |milestone: &Milestone| {
            let mut attributes = vec![KeyValue::new(TEXT, milestone.text.clone())];
            let step = milestone.step.map(|step| saga.spec().name_of(step).to_owned());
            attributes.extend(step.map(|step| KeyValue::new(STEP_ID, step)));
            Event::new(milestone.name, time(milestone.at), attributes, 0)
        };
        let builder = SpanBuilder::from_name(format!("{SAGA_SPAN} {}", saga.spec().name))
            .with_kind(SpanKind::Internal)
            .with_start_time(time(saga.started_at()))
            .with_attributes(attributes)
            .with_events(milestones.iter().map(event).collect());
        let status = match verdict {
            Verdict::Completed => Status::Ok,
            Verdict::Compensated => Status::Unset,
            Verdict::Stopped { .. } => Status::error(verdict.to_string()),
        };
        let parent = match trace.caller {
            Some(caller) => remote(trace.id, caller, trace.sampled),
            None => Context::new(),
        };
        self.make(builder, trace.id, trace.root, &parent, status, *ended);
    }

    fn make(
        &self,
        builder: SpanBuilder,
        trace: u128,
        span: u64,
        parent: &Context,
        status: Status,
        ended: Timestamp,
    ) {
        PLANNED.set(Some((trace.into(), span.into())));
        let mut span = builder.start_with_context(&self.tracer, parent);
        PLANNED.set(None);
        span.set_status(status);
        span.end_with_timestamp(time(ended));
    }
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").field("worker", &self.worker).finish_non_exhaustive()
    }
}

fn context(trace: u128, span: u64, sampled: bool) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    SpanContext::new(trace.into(), span.into(), flags, true, TraceState::default())
}

fn remote(trace: u128, span: u64, sampled: bool) -> Context {
    Context::new().with_remote_span_context(context(trace, span, sampled))
}

fn time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(at.as_micros().max(0).unsigned_abs())
}
