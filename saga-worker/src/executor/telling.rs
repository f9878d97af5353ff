//! Telling what became durable: spans, counts and lines of the log.

use std::time::Duration;

use saga_core::{Event, LogRow, PlannedCall, Saga, Timestamp};

use super::Executor;
use crate::runtime::Runtime;
use crate::telemetry::{self, Finished, Story, Trace};

/// How far back from its last row a lost worker may not have got its spans out: much longer than
/// they are kept for company before they are sent.
const UNSENT_MAX: Duration = Duration::from_secs(10);

/// The trace of a saga, and what has been told of it so far.
pub(super) struct Telling {
    /// `None` when nobody records spans.
    trace: Option<Trace>,
    story: Story,
}

impl Telling {
    pub(super) fn of(runtime: &Runtime, saga: &Saga) -> Self {
        Self { trace: runtime.telemetry.trace(saga), story: Story::default() }
    }

    /// The trace context for a participant: it names the span of the attempt.
    pub(super) fn context(&self, saga: &Saga, call: PlannedCall, attempt: u32) -> String {
        match &self.trace {
            Some(trace) => trace.context(trace.attempt(call, attempt)),
            None => telemetry::unrecorded(saga),
        }
    }

    fn sampled(&self) -> Option<Trace> {
        self.trace.filter(|trace| trace.sampled)
    }
}

impl Executor {
    /// Reads what was told before, by whichever worker. What a lost worker told last may have been
    /// lost with it, so it is told again.
    pub(super) fn remember(&mut self, log: &[LogRow], after_a_loss: bool) {
        let Some(trace) = self.telling.sampled() else { return };
        let unsent_since = log.last().map(|row| row.at);
        for row in log {
            // It has just been replayed, so it can be read.
            let Ok(transition) = row.decode() else { return };
            let finished = self.telling.story.hear(self.saga.spec(), row.at, &transition.events);
            let unsent = |finished: &&Finished| {
                after_a_loss
                    && unsent_since.is_some_and(|last| last.since(finished.ended) <= UNSENT_MAX)
            };
            for finished in finished.iter().filter(unsent) {
                self.runtime.telemetry.tell_attempt(&self.saga, &trace, finished);
            }
        }
    }

    /// Tells what has become durable with a row of the log.
    pub(super) fn tell(&mut self, at: Timestamp, events: &[Event]) {
        for event in events {
            self.count(event);
        }
        let Some(trace) = self.telling.sampled() else { return };
        let telemetry = &self.runtime.telemetry;
        for finished in self.telling.story.hear(self.saga.spec(), at, events) {
            telemetry.tell_attempt(&self.saga, &trace, &finished);
        }
        if events.iter().any(|event| matches!(event, Event::SagaEnded { .. })) {
            telemetry.tell_saga(&self.saga, &trace, self.telling.story.milestones());
        }
    }

    fn count(&self, event: &Event) {
        let (saga_id, saga, telemetry) =
            (self.saga.id(), &self.saga.spec().name, &self.runtime.telemetry);
        match event {
            Event::SagaEnded { .. } => {
                let after = self.runtime.now().since(self.saga.started_at());
                let status = self.saga.status();
                tracing::debug!(%saga_id, saga, %status, ?after, "saga ended");
                telemetry.ended(&self.saga, after);
            }
            Event::SagaStuck { reason } => {
                let why = reason.describe(self.saga.spec());
                tracing::error!(%saga_id, saga, reason = reason.code(), why, "saga stuck");
                telemetry.stuck(saga, reason);
            }
            Event::WorkerLost => telemetry.taken_over(&self.saga),
            _ => {}
        }
    }
}
