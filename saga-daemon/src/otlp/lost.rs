//! What no collector took, counted and said once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the log says so.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Counts of what was dropped since the process started.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    spans: AtomicU64,
    metrics: AtomicU64,
    /// What has been said already.
    said: AtomicU64,
    /// Why the last of them was lost.
    why: Mutex<String>,
}

impl Lost {
    pub(super) fn spans(&self, count: usize, why: &str) {
        self.spans.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.because(why);
    }

    /// A round of metrics; the next one makes good for it.
    pub(super) fn metrics(&self, why: &str) {
        self.metrics.fetch_add(1, Ordering::Relaxed);
        self.because(why);
    }

    /// The count of each signal.
    pub(crate) fn by_signal(&self) -> [(&'static str, u64); 2] {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("traces", count(&self.spans)), ("metrics", count(&self.metrics))]
    }

    /// Says in the log how much was lost since this was said last.
    pub(super) fn tell(&self) {
        let [(_, spans), (_, metrics)] = self.by_signal();
        if self.said.swap(spans + metrics, Ordering::Relaxed) < spans + metrics {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            tracing::warn!(
                spans,
                rounds_of_metrics = metrics,
                why,
                "telemetry was dropped since the start, because no collector takes it; sagas are not affected"
            );
        }
    }

    /// The lock is held for one assignment, never across an await.
    fn because(&self, why: &str) {
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept != why {
            why.clone_into(&mut kept);
        }
    }
}

/// Says it once a minute, until the end.
pub(super) async fn report(lost: Arc<Lost>, ending: CancellationToken) {
    let mut minutes = interval(SAY_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ending.run_until_cancelled(minutes.tick()).await.is_some() {
        lost.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_counted_by_itself() {
        let lost = Lost::default();
        lost.spans(3, "the queue is full");
        lost.metrics("no answer");
        lost.spans(2, "no answer");
        assert_eq!(lost.by_signal(), [("traces", 5), ("metrics", 1)]);
        lost.tell();
        assert_eq!(lost.said.load(Ordering::Relaxed), 6);
    }
}
