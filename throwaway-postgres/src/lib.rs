//! A private PostgreSQL cluster for tests and demos.
//!
//! It runs from the server binaries of the machine, on a free loopback port, in a folder of its
//! own, as an unprivileged user where the process is root. A keeper process ends it and removes
//! the folder as soon as the process that started it is gone, however that came about: it waits
//! for the end of a pipe that only that process holds.
//!
//! ```no_run
//! let url = throwaway_postgres::fresh_database()?; // postgres://saga@127.0.0.1:54321/test_1
//! # Ok::<(), throwaway_postgres::Error>(())
//! ```

mod binaries;
mod cluster;
mod sweeper;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use cluster::{Cluster, Settings};
pub use sweeper::Sweeper;

/// Set to a URL, tests use the server there instead of a cluster of their own.
pub const URL_VARIABLE: &str = "SAGA_TEST_POSTGRES_URL";

/// Why there is no server to test with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server's programs are not installed.
    #[error(
        "PostgreSQL's server programs were not found (looked for `initdb` in the folder that `pg_config --bindir` names, in /usr/lib/postgresql/*/bin and the like, and in PATH): install the package `postgresql` (on Debian and Ubuntu: apt-get install postgresql), or set {URL_VARIABLE} to the URL of a server that may be used"
    )]
    NotInstalled,
    /// A program of the server failed.
    #[error("{program} failed: {why}")]
    Failed {
        /// The program.
        program: String,
        /// What it said.
        why: String,
    },
}

impl Error {
    pub(crate) fn failed(program: &str, why: impl ToString) -> Self {
        Self::Failed { program: program.to_owned(), why: why.to_string() }
    }
}

/// Whether there is a server to test with: one that [`URL_VARIABLE`] names, or installed programs.
///
/// # Errors
/// [`Error::NotInstalled`], which says what to install.
pub fn available() -> Result<(), Error> {
    given().map_or_else(installed, |_| Ok(()))
}

/// Whether the server's programs are installed, so that a [`Cluster`] can be started.
///
/// # Errors
/// [`Error::NotInstalled`], which says what to install.
pub fn installed() -> Result<(), Error> {
    binaries::folder().map(drop)
}

/// The URL of the server to use, where [`URL_VARIABLE`] names one.
pub fn given() -> Option<String> {
    std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// A new, empty database, and the URL of it: on the server that [`URL_VARIABLE`] names, else on a
/// cluster that all callers in this process share.
///
/// # Errors
/// [`Error`] saying what to install, or what a program said.
pub fn fresh_database() -> Result<String, Error> {
    static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("saga_test_{}_{count}", std::process::id());
    if let Some(url) = given() {
        return cluster::create_database_at(&url, &name);
    }
    let shared = SHARED.get_or_init(|| Cluster::start(&Settings::default()));
    shared.as_ref().map_err(Clone::clone)?.create_database(&name)
}

#[cfg(test)]
#[path = "tests.rs"]
mod postgres;
