//! How cost grows: the same load along one dimension at a time, and a sentence that says how.

mod due;
mod growth;
mod page;
mod series;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::engine::{self, Engine, Over};
use crate::figures::Figures;
use crate::load::{Load, StoreKind};
use crate::machine::Machine;
use crate::workload::Shape;
use series::{Dimension, Point, Ran, Series};

/// Bytes of input of a saga to which nothing is added.
const INPUT_BYTES: u32 = 200;

/// Runs along each dimension.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,

    /// Only these dimensions, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "concurrency,workers,steps,payload,history,due"
    )]
    only: Vec<Dimension>,

    /// Clients at once
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64,256,1024", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: Vec<u32>,

    /// Workers, each with connections of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Vec<u8>,

    /// Steps of each saga
    #[arg(long, value_delimiter = ',', default_value = "2,5,10,20", value_parser = clap::value_parser!(u16).range(2..=50))]
    steps: Vec<u16>,

    /// Bytes of input of each saga
    #[arg(long, value_delimiter = ',', default_value = "200,2048,16384,65536", value_parser = clap::value_parser!(u32).range(200..=250_000))]
    payload: Vec<u32>,

    /// Finished sagas in the tables; writing five million takes some minutes, and several GB of disk for a while
    #[arg(long, value_delimiter = ',', default_value = "0,100000,1000000,5000000", value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    history: Vec<u64>,

    /// Waiting sagas that are due at the same moment
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    due: Vec<u32>,

    /// Clients in every dimension but concurrency
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,

    /// Length of each run, after a second of warm-up; those of `due` take as long as they take
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// How often each size is run; of each figure the median counts, and the spread is shown
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Writes PATH.json and PATH.html, with a plot for each dimension
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,

    /// One JSON object per line instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // Before the load is ours.
    let machine = Machine::look()?;
    machine.warn();
    let mut all = Vec::new();
    for &dimension in &options.only {
        all.push(options.measure(dimension)?);
    }
    if let Some(path) = &options.report {
        page::write(path, options.store, &machine, &all)?;
    }
    Ok(())
}

impl Options {
    /// All sizes of a dimension, each on a database of its own.
    fn measure(&self, dimension: Dimension) -> anyhow::Result<Series> {
        let mut series = Series::new(self.store, dimension);
        for (nth, size) in self.sizes(dimension).into_iter().enumerate() {
            let mut rounds = Vec::new();
            for _ in 0..self.rounds {
                rounds.push(self.run(dimension, size)?);
            }
            let Some(point) = Point::of(dimension, size, &rounds) else { continue };
            if nth == 0 && !self.json {
                println!("\n{}", line(&point.head()));
            }
            self.print(&point, || line(&point.cells()))?;
            series.points.push(point);
        }
        for growth in series.growth() {
            self.print(&growth, || growth.words.clone())?;
        }
        Ok(series)
    }

    /// From small to large, none of them twice.
    fn sizes(&self, dimension: Dimension) -> Vec<u64> {
        let mut sizes: Vec<u64> = match dimension {
            Dimension::Concurrency => self.concurrency.iter().copied().map(u64::from).collect(),
            Dimension::Workers => self.workers.iter().copied().map(u64::from).collect(),
            Dimension::Steps => self.steps.iter().copied().map(u64::from).collect(),
            Dimension::Payload => self.payload.iter().copied().map(u64::from).collect(),
            Dimension::History => self.history.clone(),
            Dimension::Due => self.due.iter().copied().map(u64::from).collect(),
        };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn run(&self, dimension: Dimension, size: u64) -> anyhow::Result<Ran> {
        let (mut clients, mut shape) = (self.clients, Shape::default());
        let mut engine = Engine { workers: 1, history: 0, over: Over::Calls };
        match dimension {
            Dimension::Concurrency => clients = u32::try_from(size)?,
            Dimension::Workers => engine.workers = u8::try_from(size)?,
            Dimension::Steps => shape.steps = u16::try_from(size)?,
            Dimension::Payload => {
                shape.more_bytes = u32::try_from(size)?.saturating_sub(INPUT_BYTES) as usize;
            }
            Dimension::History => engine.history = size,
            Dimension::Due => return Ok(Ran::Due(due::measure(self.store, size)?)),
        }
        let load = Load {
            store: self.store,
            concurrency: vec![clients],
            seconds: self.seconds,
            warm_up: 1,
            fail_last: false,
            json: self.json,
        };
        let figures = engine::measure_shape(&load, &engine, clients, shape)?;
        Ok(Ran::Loop(Figures { bench: "scale", ..figures }))
    }

    fn print(&self, object: &impl Serialize, words: impl Fn() -> String) -> anyhow::Result<()> {
        match self.json {
            true => println!("{}", serde_json::to_string(object)?),
            false => println!("{}", words()),
        }
        Ok(())
    }
}

/// A line of a table.
fn line(cells: &[String]) -> String {
    cells.iter().map(|cell| format!("{cell:>14}")).collect()
}
