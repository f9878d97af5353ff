//! A short look at our own speed: the engine against the floor of each database, and over HTTP. Only
//! wrong results fail; the ratio is told, and nothing is made of it. That a daemon which stands still is
//! charged for it is part of it: latencies that hide a stall are wrong results.

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
    let short = "--concurrency 16 --seconds 2";
    let mut benches = Vec::new();
    for store in stores {
        benches.push((
            format!("the engine against the floor of {store}"),
            format!("ratio --store {store} {short} --rounds 1"),
        ));
    }
    let daemon = format!("engine --over http --store sqlite {short} --fail-last");
    benches.push(("a daemon over HTTP, with compensations".to_owned(), daemon));
    benches.push(("a daemon that stands still for two seconds".to_owned(), "selfcheck".to_owned()));
    for (what, line) in benches {
        println!("{what} (development build: no claim of speed)");
        let mut bench = workspace::cargo();
        bench.args(["run", "--quiet", "--package", "saga-benches", "--"]);
        bench.args(line.split(' '));
        let mut bench = tokio::process::Command::from(bench);
        let status = bench.kill_on_drop(true).status().await;
        let status = status.context("cargo could not be run")?;
        if !status.success() {
            return Ok(Smoke::Wrong(format!("saga-bench {line} ended with {status}")));
        }
    }
    Ok(Smoke::Passed)
}
