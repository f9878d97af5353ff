//! `cargo xtask soak`: real processes under load, killed, frozen, drained and cut off at random, and
//! then every invariant checked by SQL over the logs of the sagas and the books of the participants.
//!
//! `ground` holds the databases, `crew` keeps the processes running, `load` posts orders, `operators`
//! give commands, `chaos` does the faults, `points` deals the crash points, `witness` remembers what was
//! seen, `archive` keeps what retention deletes, `checker` finds violations, `report` tells.

mod archive;
mod chaos;
mod checker;
mod crew;
mod ground;
mod load;
mod operators;
mod options;
mod points;
mod progress;
mod proxy;
mod report;
mod run;
mod sql;
mod tally;
mod witness;

use std::process::ExitCode;

use anyhow::Context as _;

pub(crate) use options::Options;

/// Runs the soak and tells by the exit code whether nothing was violated.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider().install_default().ok();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the asynchronous runtime")?
        .block_on(run::soak(options))
}
