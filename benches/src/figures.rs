//! The figures of one run, as a line of a table or as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::{Load, StoreKind, Window};

/// What one run saw: how long each saga took that ended in its window.
#[derive(Debug)]
pub(crate) struct Samples {
    window: Window,
    latencies: Vec<Duration>,
}

impl Samples {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, latencies: Vec::new() }
    }

    /// Takes note of a saga that has just ended, if it is time to.
    pub(crate) fn note(&mut self, begun: Instant, ended: Instant) {
        if self.window.contains(ended) {
            self.latencies.push(ended - begun);
        }
    }

    /// Adds what another client of the same run saw.
    pub(crate) fn extend(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
    }

    fn percentile(sorted: &[Duration], percent: usize) -> f64 {
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// One line of results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) bench: &'static str,
    pub(crate) store: StoreKind,
    pub(crate) concurrency: u32,
    pub(crate) fail_last: bool,
    pub(crate) sagas: u64,
    pub(crate) sagas_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Figures {
    pub(crate) fn new(
        bench: &'static str,
        load: &Load,
        concurrency: u32,
        mut samples: Samples,
    ) -> Self {
        samples.latencies.sort_unstable();
        let sorted = samples.latencies;
        Self {
            bench,
            store: load.store,
            concurrency,
            fail_last: load.fail_last,
            sagas: sorted.len() as u64,
            sagas_per_s: sorted.len() as f64 / samples.window.seconds(),
            p50_ms: Samples::percentile(&sorted, 50),
            p99_ms: Samples::percentile(&sorted, 99),
        }
    }

    /// The line above a table.
    pub(crate) fn print_head(load: &Load) {
        if !load.json {
            println!(
                "{:>8} {:>8} {:>12} {:>12} {:>10} {:>10}",
                "bench", "store", "concurrency", "sagas/s", "p50 ms", "p99 ms"
            );
        }
    }

    pub(crate) fn print(&self, load: &Load) -> anyhow::Result<()> {
        if load.json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let Self { bench, concurrency, sagas_per_s, p50_ms, p99_ms, .. } = self;
        let store = self.store.name();
        println!(
            "{bench:>8} {store:>8} {concurrency:>12} {sagas_per_s:>12.0} {p50_ms:>10.2} {p99_ms:>10.2}"
        );
        Ok(())
    }
}
