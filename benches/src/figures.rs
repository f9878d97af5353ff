//! The figures of one run, as a line of a table or as JSON.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cost::{Costs, Meter};
use crate::load::{Load, StoreKind, Window};
use crate::machine;

/// What one run saw: how many sagas ended in its window, and how long each took that began in it,
/// however late it ended.
#[derive(Debug)]
pub(crate) struct Samples {
    window: Window,
    ended: u64,
    latencies: Vec<Duration>,
}

impl Samples {
    pub(crate) fn new(window: Window) -> Self {
        Self { window, ended: 0, latencies: Vec::new() }
    }

    /// Takes note of a saga that has just ended, if it is time to.
    pub(crate) fn note(&mut self, begun: Instant, ended: Instant) {
        self.ended += u64::from(self.window.contains(ended));
        if self.window.contains(begun) {
            self.latencies.push(ended - begun);
        }
    }

    /// Adds what another client of the same run saw.
    pub(crate) fn extend(&mut self, other: Self) {
        self.ended += other.ended;
        self.latencies.extend(other.latencies);
    }
}

/// One line of results.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) bench: &'static str,
    pub(crate) store: StoreKind,
    pub(crate) concurrency: u32,
    pub(crate) fail_last: bool,
    /// Those that ended in the window.
    pub(crate) sagas: u64,
    /// Those that began in it, of which the percentiles are.
    pub(crate) timed: u64,
    pub(crate) sagas_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    #[serde(flatten)]
    pub(crate) costs: Costs,
}

impl Figures {
    /// Waits for the meter.
    pub(crate) fn new(
        bench: &'static str,
        load: &Load,
        concurrency: u32,
        mut samples: Samples,
        meter: Meter,
    ) -> anyhow::Result<Self> {
        samples.latencies.sort_unstable();
        let sorted = samples.latencies;
        let sagas = samples.ended;
        Ok(Self {
            bench,
            store: load.store,
            concurrency,
            fail_last: load.fail_last,
            sagas,
            timed: sorted.len() as u64,
            sagas_per_s: sagas as f64 / samples.window.seconds(),
            p50_ms: percentile(&sorted, 50),
            p99_ms: percentile(&sorted, 99),
            costs: meter.per_saga(sagas)?,
        })
    }

    /// Each figure as the median of several runs; counts are those of this one.
    pub(crate) fn median(&self, runs: &[&Self]) -> Self {
        let of = |of: fn(&Self) -> f64| median(runs.iter().map(|run| of(run)).collect());
        let told = |of: fn(&Costs) -> Option<f64>| {
            let told: Option<Vec<f64>> = runs.iter().map(|run| of(&run.costs)).collect();
            told.map(median)
        };
        Self {
            sagas_per_s: of(|run| run.sagas_per_s),
            p50_ms: of(|run| run.p50_ms),
            p99_ms: of(|run| run.p99_ms),
            costs: Costs {
                engine_cpu_s_per_1000: told(|costs| costs.engine_cpu_s_per_1000),
                database_cpu_s_per_1000: told(|costs| costs.database_cpu_s_per_1000),
                wal_bytes_per_saga: told(|costs| costs.wal_bytes_per_saga),
                written_bytes_per_saga: told(|costs| costs.written_bytes_per_saga),
                commits_per_saga: told(|costs| costs.commits_per_saga),
            },
            ..self.clone()
        }
    }

    /// Bytes written per saga, whichever the store tells.
    pub(crate) fn written_bytes(&self) -> Option<f64> {
        self.costs.wal_bytes_per_saga.or(self.costs.written_bytes_per_saga)
    }

    /// Milliseconds of CPU per saga, of the engine and of the database where that is told.
    pub(crate) fn cpu_ms(&self) -> Option<f64> {
        let Costs { engine_cpu_s_per_1000, database_cpu_s_per_1000, .. } = self.costs;
        Some(engine_cpu_s_per_1000? + database_cpu_s_per_1000.unwrap_or_default())
    }

    /// The two lines above a table.
    pub(crate) fn print_head(load: &Load) {
        if !load.json {
            println!("{:>53} {:>17} {:>17}", "", "CPU s/1,000 sagas", "per saga");
            println!(
                "{:>6} {:>8} {:>5} {:>10} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}",
                "bench",
                "store",
                "c",
                "sagas/s",
                "p50 ms",
                "p99 ms",
                "engine",
                "database",
                "bytes",
                "commits"
            );
        }
    }

    pub(crate) fn print(&self, load: &Load) -> anyhow::Result<()> {
        if load.json {
            return machine::print_json(self);
        }
        let Self { bench, store, concurrency, sagas_per_s, p50_ms, p99_ms, costs, .. } = self;
        let bytes = self.written_bytes();
        println!(
            "{bench:>6} {:>8} {concurrency:>5} {sagas_per_s:>10.0} {p50_ms:>9.2} {p99_ms:>9.2} {:>8} {:>8} {:>8} {:>8}",
            store.name(),
            cell(costs.engine_cpu_s_per_1000, 3),
            cell(costs.database_cpu_s_per_1000, 3),
            cell(bytes, 0),
            cell(costs.commits_per_saga, 3),
        );
        Ok(())
    }
}

/// The middle of all values; of an even number the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(values.len().saturating_sub(1) / 2), middle(values.len() / 2))
}

/// A percentile of times in ascending order, in milliseconds.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
}

/// A figure, or a dash where it cannot be told.
pub(crate) fn cell(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_is_timed_by_when_it_began_and_counted_by_when_it_ended() {
        let opens = Instant::now() + Duration::from_secs(10);
        let second = Duration::from_secs(1);
        let mut samples = Samples::new(Window { opens, closes: opens + 5 * second });
        samples.note(opens - second, opens + second);
        samples.note(opens + 4 * second, opens + 9 * second);
        samples.note(opens + 5 * second, opens + 6 * second);
        assert_eq!((samples.ended, samples.latencies), (1, vec![5 * second]));
    }

    #[test]
    fn the_median_of_an_even_number_is_in_the_middle_of_two() {
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
