//! `cargo xtask demo`: real orders through real services, workers killed on the way, and books that
//! must balance in the end.
//!
//! `plan` deals the orders, `databases` gives the processes of `fleet` their stores, `driver` posts, `monitor` watches and kills,
//! `books` compares what the services did with the verdicts, `report` tells.

mod api;
mod books;
mod bounded;
mod build;
mod databases;
mod disk;
mod driver;
mod fleet;
mod folder;
mod journey;
mod killer;
mod monitor;
mod options;
mod plan;
mod process;
mod report;
mod rng;
mod run;
mod screen;
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
