//! A short look at our own speed: the engine against the floor of each database. Only wrong results
//! fail; the ratio is told, and nothing is made of it.

use anyhow::Context as _;

use crate::workspace;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Smoke {
    Passed,
    /// What is wrong, in words.
    Wrong(String),
}

/// Runs it, with whatever the development profile makes of the code: a ratio of such a build says
/// whether something has become much slower, and nothing about our speed.
pub(crate) async fn smoke() -> anyhow::Result<Smoke> {
    let mut stores = vec!["sqlite"];
    match throwaway_postgres::available() {
        Ok(()) => stores.push("postgres"),
        Err(error) => println!("not on PostgreSQL: {error}"),
    }
    for store in stores {
        println!("the engine against the floor of {store} (development build: no claim of speed)");
        let mut bench = workspace::cargo();
        bench.args(["run", "--quiet", "--package", "saga-benches", "--", "ratio"]);
        bench.args(["--store", store, "--concurrency", "16", "--seconds", "2", "--rounds", "1"]);
        let mut bench = tokio::process::Command::from(bench);
        let status = bench.kill_on_drop(true).status().await;
        let status = status.context("cargo could not be run")?;
        if !status.success() {
            return Ok(Smoke::Wrong(format!("the bench on {store} ended with {status}")));
        }
    }
    Ok(Smoke::Passed)
}
