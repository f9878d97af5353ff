//! Our engine and its peers, one after the other, with one workload on one machine.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;
use throwaway_postgres::{Cluster, Settings};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::table::{Figures, OURS, Outcome, Row, show};
use super::{Peer, PeersOptions, cpu};
use crate::workspace;

/// How long a program may take beyond what it measures.
const SLACK: Duration = Duration::from_secs(120);
/// The ingress of Restate's server.
const INGRESS: &str = "http://127.0.0.1:8080";

pub(super) async fn run(options: &PeersOptions) -> anyhow::Result<ExitCode> {
    let peers = match options.only.as_slice() {
        [] => vec![Peer::Restate, Peer::Dbos, Peer::Duroxide, Peer::Underway],
        only => only.to_vec(),
    };
    let set_up = SetUp::make(&peers).await?;
    let variants = if options.fail_last { vec![false, true] } else { vec![false] };
    let mut rows = Vec::new();
    for fail_last in variants {
        for &concurrency in &options.concurrency {
            let load = Load { concurrency, seconds: options.seconds, fail_last };
            for store in ["postgres", "sqlite"] {
                let outcome = ours(store, load).await;
                add(&mut rows, OURS, store, load, outcome);
            }
            for &peer in &peers {
                let outcome = set_up.measure(peer, load).await;
                add(&mut rows, peer.name(), peer.store(), load, outcome);
            }
        }
    }
    println!("\n{}", show(&rows));
    println!(
        "`ours`: how many times as many sagas our engine did on that store (for Restate: on PostgreSQL)."
    );
    println!("What each peer promises less, and how it was set up: benches/peers/README.md.");
    Ok(ExitCode::SUCCESS)
}

/// What is run.
#[derive(Debug, Clone, Copy)]
struct Load {
    concurrency: u32,
    seconds: u64,
    fail_last: bool,
}

fn add(
    rows: &mut Vec<Row>,
    engine: &'static str,
    store: &'static str,
    load: Load,
    outcome: anyhow::Result<Figures>,
) {
    let outcome = match outcome {
        Ok(figures) => Outcome::Measured(figures),
        Err(error) => Outcome::None(format!("{error:#}")),
    };
    let Load { concurrency, fail_last, .. } = load;
    rows.push(Row { engine, store, fail_last, concurrency, outcome });
    print!("{}", show(&rows[rows.len() - 1..]).split_once('\n').map_or("", |(_, row)| row));
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Restate => "restate",
            Self::Dbos => "dbos",
            Self::Duroxide => "duroxide",
            Self::Underway => "underway",
        }
    }

    fn store(self) -> &'static str {
        match self {
            Self::Restate => "its own",
            Self::Duroxide => "sqlite",
            Self::Dbos | Self::Underway => "postgres",
        }
    }
}

/// What our own bench says of itself.
#[derive(Debug, Deserialize)]
struct Ours {
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    engine_cpu_s_per_1000: f64,
    database_cpu_s_per_1000: Option<f64>,
}

async fn ours(store: &str, load: Load) -> anyhow::Result<Figures> {
    let mut bench = Command::from(workspace::cargo());
    bench.args(["run", "--quiet", "--release", "--package", "saga-benches", "--", "engine"]);
    bench.args(["--store", store, "--json", "--concurrency", &load.concurrency.to_string()]);
    bench.args(["--seconds", &load.seconds.to_string()]);
    if load.fail_last {
        bench.arg("--fail-last");
    }
    let output = bench.kill_on_drop(true).stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "our own bench ended with {}", output.status);
    let line = String::from_utf8_lossy(&output.stdout);
    let line = line.lines().last().context("our own bench said nothing")?;
    let ours: Ours = serde_json::from_str(line).with_context(|| format!("it said {line:?}"))?;
    let cpu_s = ours.engine_cpu_s_per_1000 + ours.database_cpu_s_per_1000.unwrap_or(0.0);
    let Ours { sagas_per_s, p50_ms, p99_ms, .. } = ours;
    Ok(Figures { sagas_per_s, p50_ms, p99_ms, cpu_s: Some(cpu_s) })
}

/// Where the programs of the peers are; of one that could not be set up, why.
struct SetUp {
    /// Where npm put what it was asked for.
    node: PathBuf,
    rust: Result<PathBuf, String>,
    dbos: Result<PathBuf, String>,
    restate: Result<PathBuf, String>,
}

impl SetUp {
    /// Builds and installs below the `target` folder, nothing elsewhere.
    async fn make(peers: &[Peer]) -> anyhow::Result<Self> {
        let source = workspace::root().join("benches/peers");
        let node = workspace::root().join("target/peers");
        std::fs::create_dir_all(&node)?;
        let unwanted = || Err("not asked for".to_owned());
        let words = |error: anyhow::Error| format!("not set up: {error:#}");
        let wants = |peer: Peer| peers.contains(&peer);
        let rust = if peers.iter().any(|peer| *peer != Peer::Dbos) {
            build(&source).await.map_err(words)
        } else {
            unwanted()
        };
        let dbos =
            if wants(Peer::Dbos) { dbos(&source, &node).await.map_err(words) } else { unwanted() };
        let restate = if wants(Peer::Restate) {
            server(&source, &node).await.map_err(words)
        } else {
            unwanted()
        };
        Ok(Self { node, rust, dbos, restate })
    }

    async fn measure(&self, peer: Peer, load: Load) -> anyhow::Result<Figures> {
        let words = |why: &String| anyhow::anyhow!("{why}");
        let folder = tempfile::tempdir()?;
        match peer {
            Peer::Duroxide => {
                let program = self.rust.as_ref().map_err(words)?.join("duroxide");
                let file = folder.path().join("duroxide.db");
                measure(Command::new(program), &file.display().to_string(), load, &[]).await
            }
            Peer::Underway => {
                ensure!(!load.fail_last, "it has no compensations");
                let program = self.rust.as_ref().map_err(words)?.join("underway");
                let (cluster, url) = postgres()?;
                measure(Command::new(program), &url, load, &postmaster(&cluster)).await
            }
            Peer::Dbos => {
                let (cluster, url) = postgres()?;
                let mut program = Command::new("node");
                program.arg(self.dbos.as_ref().map_err(words)?);
                measure(program, &url, load, &postmaster(&cluster)).await
            }
            Peer::Restate => {
                let program = self.rust.as_ref().map_err(words)?.join("restate");
                let mut server = restate(self.restate.as_ref().map_err(words)?, &folder)?;
                let pid = server.id().context("the server has ended")?;
                let figures = measure(Command::new(program), INGRESS, load, &[pid]).await;
                // Its ports have to be free for the next one.
                server.kill().await?;
                let ended = self.node.join("restate.log");
                figures.with_context(|| format!("its server's log: {}", ended.display()))
            }
        }
    }
}

/// The programs in Rust, built with their own lock file.
async fn build(source: &Path) -> anyhow::Result<PathBuf> {
    println!("building the peers in Rust (the first time takes some minutes)");
    let mut cargo = Command::from(workspace::cargo());
    let target = workspace::root().join("target/peers/rust");
    cargo.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&target);
    let status = cargo.current_dir(source).status().await?;
    ensure!(status.success(), "cargo build in benches/peers ended with {status}");
    Ok(target.join("release"))
}

/// Installs what a lock file names.
async fn npm(source: &Path, target: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(target)?;
    for file in std::fs::read_dir(source)? {
        let file = file?;
        std::fs::copy(file.path(), target.join(file.file_name()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(target);
    let status = npm.status().await.context("npm is needed: install Node.js 20 or newer")?;
    ensure!(status.success(), "npm ci in {} ended with {status}", target.display());
    Ok(())
}

async fn dbos(source: &Path, node: &Path) -> anyhow::Result<PathBuf> {
    let target = node.join("dbos");
    npm(&source.join("dbos"), &target).await?;
    Ok(target.join("saga.mjs"))
}

async fn server(source: &Path, node: &Path) -> anyhow::Result<PathBuf> {
    let target = node.join("restate");
    npm(&source.join("restate"), &target).await?;
    // The program itself: what npm puts beside it starts it as a child, which would outlive it.
    let packages = target.join("node_modules/@restatedev");
    for package in std::fs::read_dir(&packages)? {
        let package = package?;
        let program = package.path().join("bin/restate-server");
        if package.file_name().to_string_lossy().starts_with("restate-server-") && program.exists()
        {
            return Ok(program);
        }
    }
    bail!("npm has no server for this kind of machine in {}", packages.display())
}

/// Restate's server for one measurement: two partitions for two cores, its log with fsync.
fn restate(program: &Path, folder: &TempDir) -> anyhow::Result<Child> {
    let log = std::fs::File::create(workspace::root().join("target/peers/restate.log"))?;
    let mut server = Command::new(program);
    server.arg("--base-dir").arg(folder.path().join("restate"));
    for (name, value) in [
        ("RESTATE_DEFAULT_NUM_PARTITIONS", "2"),
        ("RESTATE_DISABLE_TELEMETRY", "true"),
        ("RESTATE_BIFROST__DEFAULT_PROVIDER", "local"),
        ("RESTATE_BIFROST__LOCAL__ROCKSDB_DISABLE_WAL_FSYNC", "false"),
        ("RESTATE_LOG_FILTER", "warn"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        server.env(name, value);
    }
    let server = server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    server.kill_on_drop(true).spawn().context("its server could not be run")
}

/// A server of its own, durable as ours is.
fn postgres() -> anyhow::Result<(Cluster, String)> {
    let cluster = Cluster::start(&Settings::default())?;
    let url = cluster.create_database("peer")?;
    Ok((cluster, url))
}

fn postmaster(cluster: &Cluster) -> Vec<u32> {
    // Its first line is the id, as PostgreSQL documents it.
    let file = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid"));
    file.ok().and_then(|text| text.lines().next()?.parse().ok()).into_iter().collect()
}

/// A line of a peer's program.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Said {
    Begin,
    End,
    Figures { sagas: u64, sagas_per_s: f64, p50_ms: f64, p99_ms: f64 },
}

/// Runs a program and takes the CPU time of everything that works for it, from the beginning of its
/// measurement to the end.
async fn measure(
    mut program: Command,
    store: &str,
    load: Load,
    servers: &[u32],
) -> anyhow::Result<Figures> {
    program.args(["--store", store, "--concurrency", &load.concurrency.to_string()]);
    program.args(["--seconds", &load.seconds.to_string()]);
    if load.fail_last {
        program.arg("--fail-last");
    }
    let program = program.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = program.spawn().context("its program could not be run")?;
    let mut roots = servers.to_vec();
    roots.extend(child.id());
    let mut lines = BufReader::new(child.stdout.take().context("it has no output")?).lines();
    let (mut begun, mut used) = (None, None);
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            let Ok(said) = serde_json::from_str(&line) else { continue };
            match said {
                Said::Begin => begun = Some(cpu::seconds(&roots)),
                Said::End => used = begun.map(|begun| cpu::seconds(&roots) - begun),
                Said::Figures { sagas, sagas_per_s, p50_ms, p99_ms } => {
                    let cpu_s = used.map(|used| used * 1_000.0 / sagas as f64);
                    return anyhow::Ok(Figures { sagas_per_s, p50_ms, p99_ms, cpu_s });
                }
            }
        }
        bail!("its program ended without figures")
    };
    let within = SLACK + Duration::from_secs(load.seconds);
    timeout(within, reading).await.context("its program took too long")?
}
