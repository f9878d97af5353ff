//! Builds, installs and starts what the peers need, below the `target` folder and nowhere else.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::available_parallelism;

use anyhow::{Context as _, anyhow, bail, ensure};
use tempfile::TempDir;
use throwaway_postgres::{Cluster, Settings};
use tokio::process::{Child, Command};

use super::super::Peer;
use super::super::table::Figures;
use super::{Load, program};
use crate::workspace;

/// The oldest Node.js that the peers' packages run on.
const NODE_MIN: u32 = 20;

/// Where the programs of the peers are; of one that could not be set up, why.
pub(super) struct SetUp {
    programs: HashMap<Peer, Result<Ready, String>>,
}

/// A peer that can be run.
enum Ready {
    /// A program of its own, which may need a database.
    Program(PathBuf),
    /// For Node.js.
    Script(PathBuf),
    /// A program, and the server that it needs.
    Served { program: PathBuf, server: PathBuf },
}

impl SetUp {
    /// A peer that cannot be set up leaves the others alone.
    pub(super) async fn make(peers: &[Peer]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(target())?;
        let mut programs = HashMap::new();
        for &peer in peers {
            let ready = make(peer).await.map_err(|error| format!("not set up: {error:#}"));
            if let Err(why) = &ready {
                println!("{} on {}: {why}", peer.name(), peer.store());
            }
            programs.insert(peer, ready);
        }
        Ok(Self { programs })
    }

    pub(super) async fn measure(&self, peer: Peer, load: Load) -> anyhow::Result<Figures> {
        let ready = self.programs.get(&peer).context("not asked for")?;
        match ready.as_ref().map_err(|why| anyhow!("{why}"))? {
            Ready::Program(path) => on_its_store(peer, Command::new(path), load).await,
            Ready::Script(path) => {
                let mut node = Command::new("node");
                node.arg(path);
                on_its_store(peer, node, load).await
            }
            Ready::Served { program, server } => restate(program, server, load).await,
        }
    }
}

async fn make(peer: Peer) -> anyhow::Result<Ready> {
    Ok(match peer {
        Peer::Duroxide => Ready::Program(build("duroxide").await?),
        Peer::DuroxidePostgres => Ready::Program(build("duroxide-postgres").await?),
        Peer::Underway => Ready::Program(build("underway").await?),
        Peer::Dbos => Ready::Script(npm("dbos").await?.join("saga.mjs")),
        Peer::Restate => {
            let server = server(&npm("restate").await?)?;
            Ready::Served { program: build("restate").await?, server }
        }
    })
}

fn source() -> PathBuf {
    workspace::root().join("benches/peers")
}

fn target() -> PathBuf {
    workspace::root().join("target/peers")
}

/// One of the programs in Rust, built with their own lock file. Each is a feature of its own.
async fn build(name: &str) -> anyhow::Result<PathBuf> {
    println!("building {name} (the first time takes some minutes)");
    let mut cargo = Command::from(workspace::cargo());
    cargo.args(["build", "--quiet", "--release", "--locked", "--features", name, "--bin", name]);
    cargo.arg("--target-dir").arg(target().join("rust")).current_dir(source());
    let built = cargo.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        eprint!("{said}");
        bail!("{}", why_not_built(&said));
    }
    Ok(target().join("rust/release").join(name))
}

/// The reason in one line.
fn why_not_built(said: &str) -> String {
    if said.contains("custom build command for `openssl-sys") {
        return "needs OpenSSL's headers (on Debian and Ubuntu: apt-get install libssl-dev pkg-config)"
            .to_owned();
    }
    let error = said.lines().find(|line| line.starts_with("error"));
    error.unwrap_or("cargo build failed").to_owned()
}

/// Installs what the lock file of this folder names, unless that has been done.
async fn npm(name: &str) -> anyhow::Result<PathBuf> {
    let (source, target) = (source().join(name), target().join(name));
    node_is_new_enough(said("node", &["--version"]).await.as_deref())?;
    std::fs::create_dir_all(&target)?;
    for file in std::fs::read_dir(&source)? {
        let file = file?;
        std::fs::copy(file.path(), target.join(file.file_name()))?;
    }
    let lock = std::fs::read(source.join("package-lock.json"))?;
    let done = target.join("installed-lock.json");
    if std::fs::read(&done).is_ok_and(|installed| installed == lock) {
        return Ok(target);
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--loglevel=error", "--no-audit", "--no-fund"]).current_dir(&target);
    // A package of Restate's would report the installation.
    npm.env("SCARF_ANALYTICS", "false").stdout(Stdio::null());
    let status = npm.status().await;
    let status = status.context("needs npm: install it, it often comes with Node.js")?;
    ensure!(
        status.success(),
        "`npm ci` for {name} ended with {status}: it says why above; it needs a registry of packages"
    );
    std::fs::write(done, lock)?;
    Ok(target)
}

/// By what `node --version` says.
fn node_is_new_enough(said: Option<&str>) -> anyhow::Result<()> {
    let said = said.with_context(|| {
        format!("needs Node.js {NODE_MIN} or newer, and there is no `node`: install it, with npm")
    })?;
    let major = said.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    ensure!(
        major.is_some_and(|major: u32| major >= NODE_MIN),
        "needs Node.js {NODE_MIN} or newer, and `node --version` says {said}: put a newer one first \
         on PATH"
    );
    Ok(())
}

/// The first line of what a program says.
async fn said(program: &str, flags: &[&str]) -> Option<String> {
    let output = Command::new(program).args(flags).stdin(Stdio::null()).output().await.ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.lines().next().map(str::to_owned).filter(|_| output.status.success())
}

/// What the figures were made with.
pub(super) async fn versions() -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let mut with = vec![format!("{cores} cores")];
    with.extend(said("rustc", &["--version"]).await);
    with.extend(said("node", &["--version"]).await.map(|version| format!("Node.js {version}")));
    // It is there once the cluster has been made.
    let version = postgres().ok().and_then(|(cluster, _)| {
        std::fs::read_to_string(cluster.folder().join("data/PG_VERSION")).ok()
    });
    with.extend(version.map(|version| format!("PostgreSQL {}", version.trim())));
    with.join(", ")
}

async fn on_its_store(peer: Peer, mut program: Command, load: Load) -> anyhow::Result<Figures> {
    if peer.store() == "sqlite" {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("peer.db");
        return program::measure(program, &file.display().to_string(), load, &[]).await;
    }
    let (cluster, url) = postgres()?;
    if peer == Peer::DuroxidePostgres {
        program.env("DUROXIDE_PG_POOL_MAX", "24");
    }
    program::measure(program, &url, load, &postmaster(&cluster)).await
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

/// The program itself: what npm puts beside it starts it as a child, which would outlive it.
fn server(installed: &Path) -> anyhow::Result<PathBuf> {
    let packages = installed.join("node_modules/@restatedev");
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

async fn restate(program: &Path, server: &Path, load: Load) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let [ingress, admin, node] = free_ports()?;
    let mut server = start_restate(server, &folder, [ingress, admin, node])?;
    let pid = server.id().context("the server has ended")?;
    let mut command = Command::new(program);
    command.arg("--admin").arg(format!("http://127.0.0.1:{admin}"));
    let store = format!("http://127.0.0.1:{ingress}");
    let figures = program::measure(command, &store, load, &[pid]).await;
    server.kill().await?;
    figures.with_context(|| format!("its server's log: {}", restate_log().display()))
}

fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until the last one is known, or one might be given twice.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(held) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn restate_log() -> PathBuf {
    target().join("restate.log")
}

/// Restate's server for one measurement: a partition for each two cores, its log with fsync. What is
/// durable is its default, and named here so that it stays so.
fn start_restate(program: &Path, folder: &TempDir, ports: [u16; 3]) -> anyhow::Result<Child> {
    let log = std::fs::File::create(restate_log())?;
    let mut server = Command::new(program);
    server.arg("--base-dir").arg(folder.path().join("restate"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RESTATE_")) {
        server.env_remove(name);
    }
    let [ingress, admin, node] = ports.map(|port| format!("127.0.0.1:{port}"));
    let partitions = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)).to_string();
    for (name, value) in [
        ("RESTATE_INGRESS__BIND_ADDRESS", ingress.as_str()),
        ("RESTATE_ADMIN__BIND_ADDRESS", &admin),
        ("RESTATE_BIND_ADDRESS", &node),
        ("RESTATE_DEFAULT_NUM_PARTITIONS", &partitions),
        ("RESTATE_DISABLE_TELEMETRY", "true"),
        ("RESTATE_BIFROST__DEFAULT_PROVIDER", "replicated"),
        ("RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC", "false"),
        ("RESTATE_LOG_FILTER", "warn"),
        ("RESTATE_WORKER__INVOKER__NO_PROXY", r#"["127.0.0.1"]"#),
    ] {
        server.env(name, value);
    }
    let server = server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    server.kill_on_drop(true).spawn().context("its server could not be run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_needs_is_named() {
        let said = "error: failed to run custom build command for `openssl-sys v0.9.118`\n";
        assert!(why_not_built(said).contains("libssl-dev"));
        let said = "warning: a\nerror: linker `cc` not found\n  |\nerror: could not compile `b`\n";
        assert_eq!(why_not_built(said), "error: linker `cc` not found");
        assert_eq!(why_not_built(""), "cargo build failed");
    }

    #[test]
    fn a_node_that_is_missing_or_too_old_is_named_with_what_to_do() {
        let why = |said| node_is_new_enough(said).unwrap_err().to_string();
        assert!(why(None).contains("install it"));
        assert!(why(Some("v18.19.0")).contains("says v18.19.0: put a newer one first"));
        assert!(why(Some("nonsense")).contains("says nonsense"));
        for said in ["v20.0.0", "v100.1.0"] {
            node_is_new_enough(Some(said)).unwrap();
        }
    }

    #[test]
    fn ports_differ() {
        let [one, two, three] = free_ports().unwrap();
        assert!(one != two && two != three && one != three);
    }
}
