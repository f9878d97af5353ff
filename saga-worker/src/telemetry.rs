//! Every span, metric and attribute name of the product, in one place.
//!
//! # Spans
//!
//! | name | kind | what it spans | attributes |
//! | --- | --- | --- | --- |
//! | `saga <definition>` | internal | a whole saga, from its start to its verdict | `saga.id`, `saga.name`, `saga.version`, `saga.status`, `worker` |
//! | `execute <step>` | client | one attempt at an action | `saga.id`, `saga.name`, `saga.step.id`, `saga.step.type`, `saga.status`, `attempt`, `outcome`, `cause`, `worker` |
//! | `compensate <step>` | client | one attempt at a compensation | the same |
//!
//! A span is made once what it tells is durable: that of an attempt with its outcome, by the worker
//! that put the outcome on record; that of the saga with its verdict, by the worker that wrote it.
//! Times are those of the log. An attempt links to the one it repeats, the first attempt at a
//! compensation to the last one at the action.
//!
//! Events of the span of a saga: `recovery_began`, `retry_scheduled` (a wait for the next attempt),
//! `call_held` (a wait for a breaker), `call_withdrawn`, `worker_lost`, `stuck`, `command`; each has
//! `text`, and `saga.step.id` where it is about a step.
//!
//! `worker` is the name of the worker that made the span. `cause` says what left an outcome unknown:
//! `error`, `timeout`, `panicked`, `not_yet`, `cancelled` or `worker_lost`. The last is an attempt
//! that a worker began and nobody saw the end of: its span is made by the worker that takes over.
//!
//! # Traces
//!
//! A saga's trace continues the caller's `traceparent`, flag included. Without one its trace id is
//! the saga's id without hyphens, so that anybody can find it, and [`TraceRatio`] decides whether it
//! is recorded. The id of every span follows from the saga's id and the attempt, so all workers come
//! to the same ones, before and after a crash: participants are told the attempt's span in
//! `traceparent`, and whoever makes that span later makes the one they were told of. What a lost
//! worker recorded within its last ten seconds may not have got out; whoever takes its saga over
//! makes those spans again, under the same ids.
//!
//! Spans go through the OpenTelemetry API, which lets the SDK choose ids. An SDK therefore needs an
//! id generator that asks `planned_trace_id` and `planned_span_id` first. The daemon has it.
//!
//! # Metrics
//!
//! | name | kind | unit | attributes | measures |
//! | --- | --- | --- | --- | --- |
//! | `saga.starts` | counter | `{saga}` | `saga.name` | Sagas started by this process. |
//! | `saga.verdicts` | counter | `{saga}` | `saga.name`, `saga.status` | Sagas that ended here. |
//! | `saga.verdict.duration` | histogram | `s` | `saga.name`, `saga.status` | Start to verdict. |
//! | `saga.attempt.duration` | histogram | `s` | `saga.name`, `saga.step.id`, `saga.step.type`, `outcome` | One attempt at a step. |
//! | `saga.stuck` | counter | `{saga}` | `saga.name`, `reason` | Sagas that got stuck here. |
//! | `saga.takeovers` | counter | `{saga}` | `saga.name` | Sagas taken over from a lost worker with calls in flight. |
//! | `saga.queue.age` | histogram | `s` | `saga.name` | How long a saga had been due when it was claimed. |
//! | `saga.driven` | gauge | `{saga}` | none | Sagas that this worker drives. |
//! | `saga.driven.max` | gauge | `{saga}` | none | Sagas that this worker may drive at once. |
//! | `saga.breaker.state` | gauge | `{state}` | `participant`, `saga.step.type` | 0 closed, 1 releasing, 2 half-open, 3 open. |
//! | `saga.lease.failures` | counter | `{failure}` | `kind` | Heartbeats that failed (`renew`) and leases lost (`lost`). |
//! | `saga.store.failures` | counter | `{failure}` | `operation` | Calls to the store that failed. |
//! | `saga.commit.size` | histogram | `{change}` | none | Changes that shared one commit of the store. |
//! | `saga.commit.duration` | histogram | `s` | none | One commit of the store. |
//! | `saga.forgotten` | counter | `{saga}` | none | Ended sagas that this worker deleted for their age. |
//! | `saga.sagas` | gauge | `{saga}` | `saga.status` | Sagas on record. |
//! | `saga.sagas.stuck` | gauge | `{saga}` | `reason` | Stuck sagas on record. |
//! | `saga.due` | gauge | `{saga}` | none | Sagas that are due and that nobody drives. |
//! | `saga.due.age` | gauge | `s` | none | How long the longest due of them has been due. |
//! | `saga.inbox` | gauge | `{command}` | none | Commands without an answer. |
//! | `saga.inbox.age` | gauge | `s` | none | How long the oldest of them has waited. |
//! | `saga.ready` | gauge | `{daemon}` | none | 1, or 0 once the drain has begun. |
//! | `saga.store.reachable` | gauge | `{store}` | none | 1, or 0 when the store did not answer the last look. |
//! | `saga.http.request.duration` | histogram | `s` | `operation`, `status` | One request to the API, up to the head of its answer. |
//! | `saga.feed.subscribers` | gauge | `{stream}` | none | Streams of the feed of all sagas. |
//! | `saga.feed.lag` | gauge | `s` | none | How long the feed has been holding back what is committed; 0 while nobody subscribes. |
//! | `saga.webhook.deliveries` | counter | `{delivery}` | `webhook`, `outcome` | Tries to deliver to a webhook, and deliveries that were given up. |
//! | `saga.webhook.waiting` | gauge | `{delivery}` | `webhook` | Deliveries of a webhook that failed and are to be tried again. |
//! | `saga.webhook.age` | gauge | `s` | `webhook` | Age of the oldest transition that a webhook has not been told of. |
//! | `saga.webhook.off` | gauge | `{webhook}` | `webhook` | 1 while a webhook is switched off, else 0. |
//! | `saga.telemetry.dropped` | counter | `{item}` | `signal` | Spans and rounds of metrics that no collector took. |
//!
//! `saga.step.type` is `execute` or `compensate`; `outcome` is `processed`, `rejected` or
//! `unknown`, of a webhook `delivered`, `failed` or `lost`; `reason` is the code of a [`StuckReason`](saga_core::StuckReason). Prometheus reads
//! the names as [`Metric::prometheus`] gives them. With the `otel` feature spans and metrics go
//! through the OpenTelemetry API and are silent until the program installs an SDK, which it has to
//! do before the worker starts. Log lines go through `tracing` in any case.

mod ids;
#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel"))]
mod silent;
#[cfg(feature = "otel")]
mod spans;
mod story;

#[cfg(feature = "otel")]
use saga_core::BreakerState;
use saga_core::{Failure, Op, Payload};

pub use ids::{TraceRatio, TraceRatioError};
#[cfg(feature = "otel")]
pub use spans::{planned_span_id, planned_trace_id};

pub(crate) use ids::{Trace, unrecorded};
#[cfg(feature = "otel")]
pub(crate) use otel::Telemetry;
#[cfg(not(feature = "otel"))]
pub(crate) use silent::Telemetry;
pub(crate) use story::{Finished, Milestone, Story};

/// First word of the span of a saga; the definition's name follows.
pub const SAGA_SPAN: &str = "saga";
/// Attribute: the saga's id.
pub const SAGA_ID: &str = "saga.id";
/// Attribute: the definition's name.
pub const SAGA_NAME: &str = "saga.name";
/// Attribute: the definition's version.
pub const SAGA_VERSION: &str = "saga.version";
/// Attribute: the saga's status.
pub const SAGA_STATUS: &str = "saga.status";
/// Attribute: the step's name.
pub const STEP_ID: &str = "saga.step.id";
/// Attribute: `execute` or `compensate`, also the first word of the span of an attempt.
pub const STEP_TYPE: &str = "saga.step.type";
/// Attribute: the number of the attempt.
pub const ATTEMPT: &str = "attempt";
/// Attribute: how an attempt ended.
pub const OUTCOME: &str = "outcome";
/// Attribute: what left the outcome unknown.
pub const CAUSE: &str = "cause";
/// Attribute: the worker that made the span.
pub const WORKER: &str = "worker";
/// Attribute of an event: what happened, in words.
pub const TEXT: &str = "text";
/// Attribute: why a saga is stuck.
pub const REASON: &str = "reason";
/// Attribute: what a breaker guards.
pub const PARTICIPANT: &str = "participant";
/// Attribute: which kind of failure.
pub const KIND: &str = "kind";
/// Attribute: which operation of the store or of the API.
pub const OPERATION: &str = "operation";
/// Attribute: the status of an HTTP answer.
pub const STATUS: &str = "status";
/// Attribute: `traces` or `metrics`.
pub const SIGNAL: &str = "signal";
/// Attribute: the name of a webhook.
pub const WEBHOOK: &str = "webhook";

/// Something that is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// Its unit, in the notation of UCUM.
    pub unit: &'static str,
    /// What tells its series apart.
    pub attributes: &'static [&'static str],
    /// What it measures.
    pub about: &'static str,
}

/// How a [`Metric`] is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// A distribution.
    Histogram,
    /// It goes up and down.
    Gauge,
}

impl Metric {
    /// Its name as Prometheus reads it: dots become underscores, times end in `_seconds`, counters
    /// in `_total`. Histograms come as `_bucket`, `_sum` and `_count` of this name.
    pub fn prometheus(&self) -> String {
        let seconds = if self.unit == "s" { "_seconds" } else { "" };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{}{seconds}{total}", self.name.replace('.', "_"))
    }
}

/// Makes one constant per metric, and the list of all.
macro_rules! metrics {
    ($($constant:ident = $name:literal, $kind:ident, $unit:literal, [$($attribute:expr),*], $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                attributes: &[$($attribute),*],
                about: $about,
            };
        )*

        /// Every metric there is.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    STARTS = "saga.starts", Counter, "{saga}", [SAGA_NAME],
        "Sagas started by this process.";
    VERDICTS = "saga.verdicts", Counter, "{saga}", [SAGA_NAME, SAGA_STATUS],
        "Sagas that ended here.";
    VERDICT_DURATION = "saga.verdict.duration", Histogram, "s", [SAGA_NAME, SAGA_STATUS],
        "Start to verdict.";
    ATTEMPT_DURATION = "saga.attempt.duration", Histogram, "s", [SAGA_NAME, STEP_ID, STEP_TYPE, OUTCOME],
        "One attempt at a step.";
    STUCK = "saga.stuck", Counter, "{saga}", [SAGA_NAME, REASON],
        "Sagas that got stuck here.";
    TAKEOVERS = "saga.takeovers", Counter, "{saga}", [SAGA_NAME],
        "Sagas taken over from a lost worker with calls in flight.";
    QUEUE_AGE = "saga.queue.age", Histogram, "s", [SAGA_NAME],
        "How long a saga had been due when it was claimed.";
    DRIVEN = "saga.driven", Gauge, "{saga}", [],
        "Sagas that this worker drives.";
    DRIVEN_MAX = "saga.driven.max", Gauge, "{saga}", [],
        "Sagas that this worker may drive at once.";
    BREAKER_STATE = "saga.breaker.state", Gauge, "{state}", [PARTICIPANT, STEP_TYPE],
        "0 closed, 1 releasing, 2 half-open, 3 open.";
    LEASE_FAILURES = "saga.lease.failures", Counter, "{failure}", [KIND],
        "Heartbeats that failed (`renew`) and leases lost (`lost`).";
    STORE_FAILURES = "saga.store.failures", Counter, "{failure}", [OPERATION],
        "Calls to the store that failed.";
    COMMIT_SIZE = "saga.commit.size", Histogram, "{change}", [],
        "Changes that shared one commit of the store.";
    COMMIT_DURATION = "saga.commit.duration", Histogram, "s", [],
        "One commit of the store.";
    FORGOTTEN = "saga.forgotten", Counter, "{saga}", [],
        "Ended sagas that this worker deleted for their age.";
    SAGAS = "saga.sagas", Gauge, "{saga}", [SAGA_STATUS],
        "Sagas on record.";
    SAGAS_STUCK = "saga.sagas.stuck", Gauge, "{saga}", [REASON],
        "Stuck sagas on record.";
    DUE = "saga.due", Gauge, "{saga}", [],
        "Sagas that are due and that nobody drives.";
    DUE_AGE = "saga.due.age", Gauge, "s", [],
        "How long the longest due of them has been due.";
    INBOX = "saga.inbox", Gauge, "{command}", [],
        "Commands without an answer.";
    INBOX_AGE = "saga.inbox.age", Gauge, "s", [],
        "How long the oldest of them has waited.";
    READY = "saga.ready", Gauge, "{daemon}", [],
        "1, or 0 once the drain has begun.";
    STORE_REACHABLE = "saga.store.reachable", Gauge, "{store}", [],
        "1, or 0 when the store did not answer the last look.";
    REQUEST_DURATION = "saga.http.request.duration", Histogram, "s", [OPERATION, STATUS],
        "One request to the API, up to the head of its answer.";
    FEED_SUBSCRIBERS = "saga.feed.subscribers", Gauge, "{stream}", [],
        "Streams of the feed of all sagas.";
    FEED_LAG = "saga.feed.lag", Gauge, "s", [],
        "How long the feed has been holding back what is committed; 0 while nobody subscribes.";
    WEBHOOK_DELIVERIES = "saga.webhook.deliveries", Counter, "{delivery}", [WEBHOOK, OUTCOME],
        "Tries to deliver to a webhook, and deliveries that were given up.";
    WEBHOOK_WAITING = "saga.webhook.waiting", Gauge, "{delivery}", [WEBHOOK],
        "Deliveries of a webhook that failed and are to be tried again.";
    WEBHOOK_AGE = "saga.webhook.age", Gauge, "s", [WEBHOOK],
        "Age of the oldest transition that a webhook has not been told of.";
    WEBHOOK_OFF = "saga.webhook.off", Gauge, "{webhook}", [WEBHOOK],
        "1 while a webhook is switched off, else 0.";
    TELEMETRY_DROPPED = "saga.telemetry.dropped", Counter, "{item}", [SIGNAL],
        "Spans and rounds of metrics that no collector took.";
}

/// The value of [`STEP_TYPE`].
pub(crate) fn step_type(op: Op) -> &'static str {
    match op {
        Op::Action => "execute",
        Op::Compensation => "compensate",
    }
}

/// The value of [`BREAKER_STATE`]: the higher, the fewer calls pass.
#[cfg(feature = "otel")]
pub(crate) fn breaker_value(state: BreakerState) -> u64 {
    match state {
        BreakerState::Closed => 0,
        BreakerState::Releasing => 1,
        BreakerState::HalfOpen => 2,
        BreakerState::Open => 3,
    }
}

/// The value of [`OUTCOME`].
pub(crate) fn outcome(result: Result<&Payload, &Failure>) -> &'static str {
    match result {
        Ok(_) => "processed",
        Err(Failure::Rejected(_)) => "rejected",
        Err(Failure::Transient(_)) => "unknown",
    }
}

#[cfg(test)]
mod tests;
