//! `cargo xtask bench`: the comparison with the peers, and a short look at our own speed.

mod cpu;
mod peers;
mod smoke;
mod table;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

pub(crate) use smoke::{Smoke, smoke};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The engine against the floor of each database, for a few seconds. Fails on wrong results only.
    Smoke,
    /// Our engine and its peers with one workload, in one run on this machine.
    Peers(PeersOptions),
}

/// The flags of `bench peers`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PeersOptions {
    /// Only this peer; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Peer>,

    /// Clients at a time, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1,64")]
    concurrency: Vec<u32>,

    /// Length of each measurement, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// Seconds of load before each, which count for nothing
    #[arg(long, default_value_t = 5)]
    warm_up: u64,

    /// Runs of each, of whose figures the median is shown, beside how far apart they were
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,

    /// The variant in which the third step is rejected and two compensations run, as well
    #[arg(long)]
    fail_last: bool,
}

/// A peer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Peer {
    /// Restate: its server from npm, its Rust SDK.
    Restate,
    /// DBOS: its TypeScript SDK, on PostgreSQL.
    Dbos,
    /// duroxide, on SQLite.
    Duroxide,
    /// duroxide, on PostgreSQL.
    DuroxidePostgres,
    /// underway, on PostgreSQL.
    Underway,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the asynchronous runtime")?;
    match &options.what {
        What::Smoke => match runtime.block_on(smoke())? {
            Smoke::Passed => Ok(ExitCode::SUCCESS),
            Smoke::Wrong(why) => {
                eprintln!("error: {why}");
                Ok(ExitCode::FAILURE)
            }
        },
        What::Peers(options) => runtime.block_on(peers::run(options)),
    }
}
