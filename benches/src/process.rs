//! The programs of the workspace as processes of a bench: built, started, frozen, killed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

/// How long a program may take to say that it is ready.
const READY_MAX: Duration = Duration::from_secs(60);

/// The folder of the programs, which are built first where cargo runs this bench.
///
/// # Errors
/// When the build fails, or a program is not there.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let folder = own.parent().context("this program is in no folder")?.to_owned();
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        // What cargo has told this program of itself: build scripts that watch it would run again, and with
        // them half of the build, each time that another program asks for it.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_set_by_cargo(name)) {
            build.env_remove(name);
        }
        build.args(["build", "--quiet", "--bins", "-p", "saga-examples", "-p", "saga-daemon"]);
        if folder.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let status = build.status().context("cargo could not be called")?;
        ensure!(
            status.success(),
            "the programs could not be built ({status}); cargo says why above"
        );
    }
    for name in ["saga-worker", "inventory", "coupons", "points", "payments", "orders"] {
        let path = folder.join(name);
        ensure!(
            path.exists(),
            "there is no {}: build it beside this program with `cargo build --release --bins \
             -p saga-examples -p saga-daemon`",
            path.display()
        );
    }
    Ok(folder)
}

/// Lets this process, and those that it starts from now on, open so many files.
///
/// # Errors
/// When the hard limit is lower.
pub(crate) fn raise_limit(files: u64) -> anyhow::Result<()> {
    let raised = rlimit::increase_nofile_limit(files)?;
    ensure!(
        raised >= files,
        "this process may open {raised} files, and {files} are needed: raise the hard limit (ulimit -Hn)"
    );
    Ok(())
}

/// The same for so many clients over HTTP: each has a connection, and so have its calls to participants,
/// of which both ends may be here.
pub(crate) fn raise_limit_for(clients: u32) -> anyhow::Result<()> {
    raise_limit(3 * u64::from(clients) + 512)
}

fn is_set_by_cargo(variable: &OsStr) -> bool {
    let Some(variable) = variable.to_str() else { return false };
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| variable.starts_with(start))
        || ["CARGO", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&variable)
}

/// A process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// The services end when it closes.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose standard error goes to a file in `folder`.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[OsString],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let mut command = tokio::process::Command::new(program);
        // The settings of whoever runs the bench are not those of the bench.
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("SAGA_")) {
            command.env_remove(variable);
        }
        // A line per call would be most of the work of a small service.
        command.args(arguments).env("RUST_LOG", "warn").kill_on_drop(true);
        let stderr = std::fs::File::options().create(true).append(true).open(&log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let child = command.spawn();
        let mut child = child.with_context(|| format!("{} cannot start", program.display()))?;
        let stdout = child.stdout.take().context("its standard output was asked for")?;
        let stdout = BufReader::new(stdout).lines();
        Ok(Self { name, stdin: child.stdin.take(), child, stdout, log })
    }

    /// The rest of the first line that begins with `prefix`, once it is said.
    pub(crate) async fn says(&mut self, prefix: &str) -> anyhow::Result<String> {
        self.says_within(prefix, READY_MAX).await
    }

    /// The same with a limit of the caller's own.
    pub(crate) async fn says_within(
        &mut self,
        prefix: &str,
        limit: Duration,
    ) -> anyhow::Result<String> {
        let found = timeout(limit, async {
            while let Some(line) = self.stdout.next_line().await? {
                if let Some(rest) = line.trim().strip_prefix(prefix) {
                    return Ok(rest.trim().to_owned());
                }
            }
            bail!("it ended")
        });
        let late = |_| bail!("it took longer than {} s", limit.as_secs());
        let found = found.await.unwrap_or_else(late);
        found.with_context(|| format!("{} did not say `{prefix}..`: {}", self.name, self.tail()))
    }

    /// Writes a line to its standard input.
    pub(crate) async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let stdin = self.stdin.as_mut().context("its standard input is closed")?;
        let written = stdin.write_all(format!("{line}\n").as_bytes()).await;
        written.with_context(|| format!("{} hears nothing: {}", self.name, self.tail()))
    }

    /// Ends it with SIGKILL, and comes back when it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("{} cannot be killed", self.name))
    }

    /// What it holds in memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let pid =
            self.pid().with_context(|| format!("{} has ended: {}", self.name, self.tail()))?;
        Ok(memory_kib(pid)? * 1_024)
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The last lines of what it logged.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

/// Sends a signal, such as `STOP`, to a process of this bench.
pub(crate) fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    ensure!(sent.success(), "SIG{name} could not be sent to process {pid} ({sent})");
    Ok(())
}

/// What a process holds in memory.
pub(crate) fn memory_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.context("no VmRSS: this bench needs Linux")?.parse().map_err(Into::into)
}
