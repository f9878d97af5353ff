//! Floor and engine in turn in one run: what counts is how much of the floor the engine reaches,
//! because machines and moments differ.

use clap::Args;
use serde::Serialize;

use crate::engine::{self, Engine};
use crate::figures::{Figures, median};
use crate::floor::{self, Batching};
use crate::load::{Load, StoreKind};
use crate::machine;

/// Floor and engine in turn.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    load: Load,

    #[command(flatten)]
    batching: Batching,

    #[command(flatten)]
    engine: Engine,

    /// How often each of the two is measured; the medians are compared
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
}

/// How the two compare.
#[derive(Serialize)]
struct Ratio {
    bench: &'static str,
    store: StoreKind,
    concurrency: u32,
    fail_last: bool,
    /// Sagas per second, engine / floor.
    throughput: f64,
    /// Median latency, engine / floor.
    p50: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { load, batching, engine, rounds } = options;
    machine::tell();
    Figures::print_head(load);
    for &concurrency in &load.concurrency {
        let (mut floors, mut engines) = (Vec::new(), Vec::new());
        for _ in 0..*rounds {
            floors.push(floor::measure(load, batching, concurrency)?);
            engines.push(engine::measure(load, engine, concurrency)?);
            for figures in [&floors, &engines].into_iter().flat_map(|all| all.last()) {
                figures.print(load)?;
            }
        }
        let ratio = |of: fn(&Figures) -> f64| of_all(&engines, of) / of_all(&floors, of);
        let ratio = Ratio {
            bench: "ratio",
            store: load.store,
            concurrency,
            fail_last: load.fail_last,
            throughput: ratio(|figures| figures.sagas_per_s),
            p50: ratio(|figures| figures.p50_ms),
        };
        ratio.print(load)?;
    }
    Ok(())
}

impl Ratio {
    fn print(&self, load: &Load) -> anyhow::Result<()> {
        let Self { bench, store, concurrency, throughput, p50, .. } = self;
        if load.json {
            return machine::print_json(self);
        }
        let store = store.name();
        println!("{bench:>6} {store:>8} {concurrency:>5} {throughput:>10.2} {p50:>9.2}");
        Ok(())
    }
}

fn of_all(runs: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    median(runs.iter().map(of).collect())
}
