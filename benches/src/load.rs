//! What every bench is asked: which store, how many clients, for how long.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How long after a run has closed the sagas that are still under way are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the sagas are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoreKind {
    /// In memory: the engine alone, nothing durable
    Memory,
    /// A SQLite file in a fresh temporary folder, WAL, synchronous=FULL
    Sqlite,
    /// A fresh throwaway PostgreSQL, fsync and synchronous_commit on
    Postgres,
}

impl StoreKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The load, the same for the engine and for the floor.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    pub(crate) store: StoreKind,

    /// Clients at once, each with one saga under way; several runs, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,64,256", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) concurrency: Vec<u32>,

    /// Length of each run, after its warm-up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,

    /// Seconds of load before the run, which count for nothing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) warm_up: u64,

    /// The third step is rejected, so two compensations run
    #[arg(long)]
    pub(crate) fail_last: bool,

    /// One JSON object per line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Load {
    /// The time of a run that begins now.
    pub(crate) fn window(&self) -> Window {
        let opens = Instant::now() + Duration::from_secs(self.warm_up);
        Window { opens, closes: opens + Duration::from_secs(self.seconds) }
    }
}

/// The time that is measured: after the warm-up, before the clients stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) opens: Instant,
    pub(crate) closes: Instant,
}

impl Window {
    /// Until when a saga that began in time is waited for.
    pub(crate) fn gives_up(self) -> Instant {
        self.closes + PATIENCE
    }

    pub(crate) fn contains(self, moment: Instant) -> bool {
        (self.opens..self.closes).contains(&moment)
    }

    pub(crate) fn seconds(self) -> f64 {
        (self.closes - self.opens).as_secs_f64()
    }
}
