//! `cargo xtask demo`: real orders through the API of real daemons to real services, daemons killed on
//! the way, and books that must balance in the end.
//!
//! `plan` deals the orders, `databases` gives the processes of `fleet` their stores, `daemon` starts one
//! that runs the saga from YAML or from Rust, `daemons` is their API, `driver` posts, `monitor` watches
//! and kills, `books` compares what the services did with the verdicts, `report` tells.

pub(crate) mod api;
mod books;
mod bounded;
pub(crate) mod build;
mod daemon;
mod daemons;
mod databases;
mod disk;
pub(crate) mod driver;
mod fleet;
pub(crate) mod folder;
mod journey;
mod killer;
mod monitor;
mod options;
pub(crate) mod plan;
pub(crate) mod process;
mod report;
pub(crate) mod rng;
mod run;
pub(crate) mod screen;
mod server;
mod verdicts;

use std::process::ExitCode;

use anyhow::Context as _;

pub(crate) use options::Options;

/// Runs the demo and tells by the exit code whether all was well.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    options.check_or_exit();
    rustls::crypto::ring::default_provider().install_default().ok();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the asynchronous runtime")?
        .block_on(run::demo(options))
}
