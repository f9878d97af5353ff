//! The lines of the table.

use serde::Serialize;

use crate::open::recorder::Ends;
use crate::report::Report;
use crate::report::compare::not_completed;

/// The source design's own floor: orders per second, and milliseconds of p99 while all is well.
pub(super) const BASELINE_PER_S: f64 = 1_200.0;
pub(super) const BASELINE_P99_MS: f64 = 800.0;

/// One line of the table; what is not told is not there.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    name: &'static str,
    orders_per_s: Option<f64>,
    healthy_p99_ms: Option<f64>,
    p99_ms: Option<f64>,
    failed_percent: Option<f64>,
    compensations_percent: Option<f64>,
}

impl Row {
    /// What the source design tells.
    pub(super) fn theirs() -> Vec<Self> {
        let told = |name, p99, failed, compensations| Self {
            name,
            p99_ms: Some(p99),
            failed_percent: Some(failed),
            compensations_percent: Some(compensations),
            ..Self::default()
        };
        vec![
            Self {
                name: "baseline: at least, at most",
                orders_per_s: Some(BASELINE_PER_S),
                healthy_p99_ms: Some(BASELINE_P99_MS),
                ..Self::default()
            },
            told("theirs, a: no breaker, fixed timeout", 1_420.0, 2.7, 91.3),
            told("theirs, b: breaker, exponential backoff", 680.0, 0.18, 99.6),
        ]
    }

    pub(super) fn ours(name: &'static str, report: &Report) -> Self {
        Self {
            name,
            orders_per_s: Some(report.verdicts_per_s),
            healthy_p99_ms: healthy_p99(report),
            p99_ms: Some(report.latencies.p99_ms),
            failed_percent: Some(not_completed(&report.ends)),
            compensations_percent: compensated(&report.ends),
        }
    }

    pub(super) fn print_head() {
        println!(
            "{:>40} {:>9} {:>12} {:>9} {:>10} {:>14}",
            "", "orders/s", "healthy p99", "p99 ms", "failed", "compensations"
        );
    }

    pub(super) fn print(&self) {
        let whole = |figure| crate::figures::cell(figure, 0);
        let percent =
            |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |it| format!("{it:.2} %"));
        println!(
            "{:>40} {:>9} {:>12} {:>9} {:>10} {:>14}",
            self.name,
            whole(self.orders_per_s),
            whole(self.healthy_p99_ms),
            whole(self.p99_ms),
            percent(self.failed_percent),
            percent(self.compensations_percent)
        );
    }
}

/// Whether throughput and latency are as good as the baseline, in this order.
pub(super) fn baseline_met(report: &Report) -> [bool; 2] {
    [
        report.verdicts_per_s >= BASELINE_PER_S,
        healthy_p99(report).is_some_and(|p99| p99 <= BASELINE_P99_MS),
    ]
}

pub(super) fn healthy_p99(report: &Report) -> Option<f64> {
    report.phase("healthy").map(|phase| phase.latencies.p99_ms)
}

/// Of the sagas that turned back, those that have been compensated. Whatever has no verdict may
/// have turned back and counts as not compensated.
fn compensated(ends: &Ends) -> Option<f64> {
    let Ends { compensated, stopped, alive, .. } = ends;
    let all = compensated + stopped + alive;
    (all > 0).then(|| *compensated as f64 * 100.0 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_that_is_stuck_is_no_compensation_that_succeeded() {
        let ends = Ends { completed: 10, compensated: 3, alive: 1, ..Ends::default() };
        assert_eq!(compensated(&ends), Some(75.0));
        assert_eq!(compensated(&Ends { completed: 10, ..Ends::default() }), None);
    }
}
