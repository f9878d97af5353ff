//! The instruments of one worker, through the OpenTelemetry API.

use std::sync::Weak;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::{KeyValue, global};
use saga_core::{Failure, Payload, Saga, StepContext, StuckReason};

use super::spans::Spans;
use super::*;
use crate::runtime::Runtime;

/// What one worker counts, measures and traces.
#[derive(Debug)]
pub(crate) struct Telemetry {
    meter: Meter,
    starts: Counter<u64>,
    verdicts: Counter<u64>,
    stuck: Counter<u64>,
    takeovers: Counter<u64>,
    forgotten: Counter<u64>,
    lease_failures: Counter<u64>,
    store_failures: Counter<u64>,
    verdict_duration: Histogram<f64>,
    attempt_duration: Histogram<f64>,
    queue_age: Histogram<f64>,
    spans: Option<Spans>,
    ratio: TraceRatio,
}

impl Telemetry {
    pub(crate) fn new(worker: &str, ratio: TraceRatio) -> Self {
        let meter = global::meter("saga-worker");
        let counter = |metric: Metric| {
            let counter = meter.u64_counter(metric.name).with_unit(metric.unit);
            counter.with_description(metric.about).build()
        };
        let histogram = |metric: Metric| {
            let histogram = meter.f64_histogram(metric.name).with_unit(metric.unit);
            histogram.with_description(metric.about).build()
        };
        Self {
            starts: counter(STARTS),
            verdicts: counter(VERDICTS),
            stuck: counter(STUCK),
            takeovers: counter(TAKEOVERS),
            forgotten: counter(FORGOTTEN),
            lease_failures: counter(LEASE_FAILURES),
            store_failures: counter(STORE_FAILURES),
            verdict_duration: histogram(VERDICT_DURATION),
            attempt_duration: histogram(ATTEMPT_DURATION),
            queue_age: histogram(QUEUE_AGE),
            spans: Spans::installed(worker),
            ratio,
            meter,
        }
    }

    /// Has the state of the worker's breakers, and how busy it is, looked up whenever somebody
    /// reads the metrics. After the end of the worker there is nothing to look up.
    pub(crate) fn observe(&self, runtime: &Weak<Runtime>) {
        let gauge = |metric: Metric| {
            let gauge = self.meter.u64_observable_gauge(metric.name).with_unit(metric.unit);
            gauge.with_description(metric.about)
        };
        let of = runtime.clone();
        let driven = gauge(DRIVEN).with_callback(move |observer| {
            if let Some(runtime) = of.upgrade() {
                let taken = runtime.permits_taken();
                observer.observe(u64::try_from(taken).unwrap_or(u64::MAX), &[]);
            }
        });
        let of = runtime.clone();
        let driven_max = gauge(DRIVEN_MAX).with_callback(move |observer| {
            if let Some(runtime) = of.upgrade() {
                let max = runtime.options.concurrency_max;
                observer.observe(u64::try_from(max).unwrap_or(u64::MAX), &[]);
            }
        });
        let of = runtime.clone();
        let breakers = gauge(BREAKER_STATE).with_callback(move |observer| {
            let views = of.upgrade().map(|runtime| runtime.breakers.views());
            for view in views.into_iter().flatten() {
                let guarded = [
                    KeyValue::new(PARTICIPANT, view.participant),
                    KeyValue::new(STEP_TYPE, step_type(view.op)),
                ];
                observer.observe(breaker_value(view.state), &guarded);
            }
        });
        // The provider keeps the callbacks; the instruments themselves are not needed again.
        let _ = (driven.build(), driven_max.build(), breakers.build());
    }

    pub(crate) fn started(&self, saga: &Saga) {
        self.starts.add(1, &[name_of(saga)]);
    }

    pub(crate) fn ended(&self, saga: &Saga, after: Duration) {
        let attributes = [name_of(saga), KeyValue::new(SAGA_STATUS, saga.status().as_str())];
        self.verdicts.add(1, &attributes);
        self.verdict_duration.record(after.as_secs_f64(), &attributes);
    }

    pub(crate) fn stuck(&self, saga: &str, reason: &StuckReason) {
        let attributes =
            [KeyValue::new(SAGA_NAME, saga.to_owned()), KeyValue::new(REASON, reason.code())];
        self.stuck.add(1, &attributes);
    }

    pub(crate) fn taken_over(&self, saga: &Saga) {
        self.takeovers.add(1, &[name_of(saga)]);
    }

    pub(crate) fn forgotten(&self, sagas: u32) {
        self.forgotten.add(sagas.into(), &[]);
    }

    pub(crate) fn claimed(&self, saga: &str, due_for: Duration) {
        let attributes = [KeyValue::new(SAGA_NAME, saga.to_owned())];
        self.queue_age.record(due_for.as_secs_f64(), &attributes);
    }

    /// `kind`: `renew` or `lost`.
    pub(crate) fn lease_failed(&self, kind: &'static str) {
        self.lease_failures.add(1, &[KeyValue::new(KIND, kind)]);
    }

    pub(crate) fn store_failed(&self, operation: &'static str) {
        self.store_failures.add(1, &[KeyValue::new(OPERATION, operation)]);
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
            KeyValue::new(OUTCOME, outcome(result.as_ref())),
        ];
        self.attempt_duration.record(took.as_secs_f64(), &attributes);
    }

    /// The saga's place in its trace; `None` when nobody records it.
    pub(crate) fn trace(&self, saga: &Saga) -> Option<Trace> {
        self.spans.as_ref().map(|_| Trace::of(saga, self.ratio))
    }

    pub(crate) fn tell_attempt(&self, saga: &Saga, trace: &Trace, finished: &Finished) {
        if let Some(spans) = &self.spans {
            spans.attempt(saga, trace, finished);
        }
    }

    pub(crate) fn tell_saga(&self, saga: &Saga, trace: &Trace, milestones: &[Milestone]) {
        if let Some(spans) = &self.spans {
            spans.saga(saga, trace, milestones);
        }
    }
}

fn name_of(saga: &Saga) -> KeyValue {
    KeyValue::new(SAGA_NAME, saga.spec().name.clone())
}
