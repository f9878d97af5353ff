//! Our engine and its peers, one after the other, with one workload on one machine.

mod program;
mod set_up;

use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use throwaway_postgres::URL_VARIABLE;
use tokio::process::Command;

use self::set_up::SetUp;
use super::table::{DAEMON, Figures, OURS, Outcome, Row, show};
use super::{Peer, PeersOptions};
use crate::workspace;

pub(super) async fn run(options: &PeersOptions) -> anyhow::Result<ExitCode> {
    let peers = match options.only.as_slice() {
        [] => Peer::ALL.to_vec(),
        only => only.to_vec(),
    };
    build_ours().await?;
    let set_up = SetUp::make(&peers).await?;
    let stores = ["postgres", "sqlite"];
    let ours = stores.map(Engine::Ours).into_iter().chain(stores.map(Engine::Daemon));
    let engines: Vec<_> = ours.chain(peers.into_iter().map(Engine::Peer)).collect();
    let variants = if options.fail_last { vec![false, true] } else { vec![false] };
    let mut rows = Vec::new();
    for fail_last in variants {
        for &concurrency in &options.concurrency {
            let PeersOptions { seconds, warm_up, .. } = *options;
            let load = Load { concurrency, seconds, warm_up, fail_last };
            rows.extend(compare(&set_up, &engines, load, options.rounds).await);
        }
    }
    println!("\n{}", show(&rows));
    println!(
        "`{OURS}` and `{DAEMON}`: how many times as many sagas our engine did on that store (for Restate: on \
         PostgreSQL), embedded and over HTTP."
    );
    println!("{}", set_up::versions().await);
    println!("What each peer promises less, and how it was set up: benches/peers/README.md.");
    Ok(ExitCode::SUCCESS)
}

/// What is run.
#[derive(Debug, Clone, Copy)]
struct Load {
    concurrency: u32,
    seconds: u64,
    warm_up: u64,
    fail_last: bool,
}

/// Who runs it.
#[derive(Debug, Clone, Copy)]
enum Engine {
    /// Ours, on this store, inside the program that uses it.
    Ours(&'static str),
    /// Ours as a daemon, with clients and participants over HTTP.
    Daemon(&'static str),
    Peer(Peer),
}

/// A row for each engine. Every other round goes from last to first, so that none always has the
/// machine as its neighbour leaves it.
async fn compare(set_up: &SetUp, engines: &[Engine], load: Load, rounds: u32) -> Vec<Row> {
    let mut runs: Vec<Vec<anyhow::Result<Figures>>> = engines.iter().map(|_| vec![]).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..engines.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for nth in order {
            // What failed once is not tried again.
            if runs[nth].iter().all(Result::is_ok) {
                let outcome = engines[nth].measure(set_up, load).await;
                print!("{}", told(&engines[nth].row(load, outcome_of(&[&outcome]))));
                runs[nth].push(outcome);
            }
        }
    }
    let row = |(engine, runs): (&Engine, &Vec<_>)| {
        engine.row(load, outcome_of(&runs.iter().collect::<Vec<_>>()))
    };
    engines.iter().zip(&runs).map(row).collect()
}

/// The row without the head of its table.
fn told(row: &Row) -> String {
    show(std::slice::from_ref(row))
        .split_once('\n')
        .map_or(String::new(), |(_, row)| row.to_owned())
}

fn outcome_of(runs: &[&anyhow::Result<Figures>]) -> Outcome {
    if let Some(error) = runs.iter().find_map(|run| run.as_ref().err()) {
        return Outcome::None(format!("{error:#}"));
    }
    let runs: Vec<_> = runs.iter().filter_map(|run| run.as_ref().ok().copied()).collect();
    Figures::median(&runs).map_or(Outcome::None("not run".to_owned()), Outcome::Measured)
}

impl Engine {
    async fn measure(self, set_up: &SetUp, load: Load) -> anyhow::Result<Figures> {
        match self {
            Self::Ours(store) => ours(store, "calls", load).await,
            Self::Daemon(store) => ours(store, "http", load).await,
            Self::Peer(peer) => set_up.measure(peer, load).await,
        }
    }

    fn row(self, load: Load, outcome: Outcome) -> Row {
        let (engine, store) = match self {
            Self::Ours(store) => (OURS, store),
            Self::Daemon(store) => (DAEMON, store),
            Self::Peer(peer) => (peer.name(), peer.store()),
        };
        let Load { concurrency, fail_last, .. } = load;
        Row { engine, store, fail_last, concurrency, outcome }
    }
}

impl Peer {
    const ALL: [Self; 5] =
        [Self::Restate, Self::Dbos, Self::Duroxide, Self::DuroxidePostgres, Self::Underway];

    fn name(self) -> &'static str {
        match self {
            Self::Restate => "restate",
            Self::Dbos => "dbos",
            Self::Duroxide | Self::DuroxidePostgres => "duroxide",
            Self::Underway => "underway",
        }
    }

    fn store(self) -> &'static str {
        match self {
            Self::Restate => "its own",
            Self::Duroxide => "sqlite",
            Self::Dbos | Self::DuroxidePostgres | Self::Underway => "postgres",
        }
    }
}

/// What our own bench says of itself.
#[derive(Debug, Deserialize)]
struct Ours {
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    engine_cpu_s_per_1000: Option<f64>,
    database_cpu_s_per_1000: Option<f64>,
}

impl Ours {
    /// Of engine and database. On PostgreSQL the engine's share alone would say too little.
    fn cpu_s(&self, store: &str) -> Option<f64> {
        let database_cpu_s = match store {
            "postgres" => self.database_cpu_s_per_1000?,
            _ => self.database_cpu_s_per_1000.unwrap_or(0.0),
        };
        Some(self.engine_cpu_s_per_1000? + database_cpu_s)
    }
}

/// Builds ours before anything is measured, as the bench would later, in the middle of the first round.
async fn build_ours() -> anyhow::Result<()> {
    println!("building ours (the first time takes some minutes)");
    for what in
        [["-p", "saga-benches"].as_slice(), &["--bins", "-p", "saga-examples", "-p", "saga-daemon"]]
    {
        let mut cargo = Command::from(workspace::cargo());
        cargo.args(["build", "--quiet", "--release"]).args(what);
        let status = cargo.kill_on_drop(true).status().await.context("cargo could not be run")?;
        ensure!(status.success(), "ours could not be built ({status}): cargo says why above");
    }
    Ok(())
}

async fn ours(store: &str, over: &str, load: Load) -> anyhow::Result<Figures> {
    let mut bench = Command::from(workspace::cargo());
    bench.args(["run", "--quiet", "--release", "--package", "saga-benches", "--", "engine"]);
    bench.args(["--store", store, "--over", over, "--json"]);
    bench.args(["--concurrency", &load.concurrency.to_string()]);
    bench.args(["--seconds", &load.seconds.to_string()]);
    bench.args(["--warm-up", &load.warm_up.to_string()]);
    if load.fail_last {
        bench.arg("--fail-last");
    }
    // A throwaway server, as for the peers.
    bench.env_remove(URL_VARIABLE);
    let output = bench.kill_on_drop(true).stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "our own bench ended with {}", output.status);
    let line = String::from_utf8_lossy(&output.stdout);
    let line = line.lines().last().context("our own bench said nothing")?;
    let ours: Ours = serde_json::from_str(line).with_context(|| format!("it said {line:?}"))?;
    let cpu_s = ours.cpu_s(store);
    let Ours { sagas_per_s, p50_ms, p99_ms, .. } = ours;
    Ok(Figures { sagas_per_s, p50_ms, p99_ms, cpu_s, spread: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(sagas_per_s: f64) -> Figures {
        Figures { sagas_per_s, p50_ms: 1.0, p99_ms: 2.0, cpu_s: Some(0.5), spread: None }
    }

    #[test]
    fn one_run_that_failed_is_told_instead_of_the_others() {
        let (good, bad) = (Ok(figures(1.0)), Err(anyhow::anyhow!("no server")));
        let Outcome::None(why) = outcome_of(&[&good, &bad]) else { panic!("it failed") };
        assert_eq!(why, "no server");
    }

    #[test]
    fn the_cpu_of_a_database_that_is_not_told_is_not_taken_for_none() {
        let line = r#"{"sagas_per_s":1.0,"p50_ms":1.0,"p99_ms":1.0,
            "engine_cpu_s_per_1000":0.5,"database_cpu_s_per_1000":null}"#;
        let ours: Ours = serde_json::from_str(line).unwrap();
        assert_eq!(ours.cpu_s("postgres"), None);
        assert_eq!(ours.cpu_s("sqlite"), Some(0.5));
    }
}
