//! The facts of the machine, without which a figure says nothing.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use throwaway_postgres::URL_VARIABLE;

use crate::look::Look;

/// How often the disk is asked.
const SYNCS: usize = 200;
/// What is written each time: a page of a database.
const PAGE: [u8; 4_096] = [0x5a; 4_096];
/// What a server that was given is asked: 150008 is 15.8.
const VERSION: &str = "SELECT current_setting('server_version_num')::bigint";

/// The facts in one line, found out once, before the load is there.
static FACTS: LazyLock<String> = LazyLock::new(|| match Machine::look() {
    Ok(machine) => {
        machine.warn();
        machine.facts()
    }
    Err(error) => format!("unknown: {error:#}"),
});

/// Says on stderr on what machine a bench is about to run.
pub(crate) fn tell() {
    eprintln!("machine: {}", *FACTS);
}

/// Prints the figures of a run as one line of JSON, with the facts of the machine.
pub(crate) fn print_json(figures: &impl Serialize) -> anyhow::Result<()> {
    let mut object = serde_json::to_value(figures)?;
    object["machine"] = FACTS.as_str().into();
    println!("{object}");
    Ok(())
}

/// Where and with what a report was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: u64,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Of the folder in which the databases are.
    pub(crate) filesystem: String,
    /// Median and 99th percentile of writing 4 KiB and `fdatasync`, in milliseconds.
    pub(crate) fsync_p50_ms: f64,
    pub(crate) fsync_p99_ms: f64,
    /// Runnable processes of the last minute before the run: those of strangers.
    pub(crate) load_before: String,
    pub(crate) release: String,
    pub(crate) profile: String,
    /// Of the checkout in which the program was run, if it was run in one.
    pub(crate) commit: String,
    pub(crate) postgres: String,
    pub(crate) command: String,
}

impl Machine {
    /// Asks the machine; takes about a tenth of a second. What cannot be told is `unknown`.
    pub(crate) fn look() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir();
        let (fsync_p50_ms, fsync_p99_ms) = fsync(&folder)?;
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let own = std::env::args().collect::<Vec<_>>();
        let program = own.first().map_or("saga-bench", |path| base_name(path));
        let arguments = own.get(1..).unwrap_or_default().join(" ");
        Ok(Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            memory_gib: kib(&read("/proc/meminfo"), "MemTotal") / 1_048_576.0,
            kernel: or_unknown(read("/proc/sys/kernel/osrelease").trim()),
            filesystem: filesystem(&read("/proc/mounts"), &folder).unwrap_or_else(unknown),
            fsync_p50_ms,
            fsync_p99_ms,
            load_before: or_unknown(read("/proc/loadavg").split(' ').next().unwrap_or_default()),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            commit: said("git", &["describe", "--always", "--dirty"]).unwrap_or_else(unknown),
            postgres: postgres().unwrap_or_else(unknown),
            command: format!("{program} {arguments}"),
        })
    }

    /// Says what makes its figures worth little.
    pub(crate) fn warn(&self) {
        if self.filesystem == "tmpfs" {
            eprintln!("warning: the databases are on tmpfs, where nothing is durable");
        }
        if self.profile == "debug" {
            eprintln!("warning: this is a debug build; figures are for `cargo run --release`");
        }
    }

    fn facts(&self) -> String {
        let facts = self.lines().into_iter().filter(|(name, _)| *name != "Command");
        facts.map(|(name, fact)| format!("{name} {fact}")).collect::<Vec<_>>().join("; ")
    }

    /// The facts as lines of a table.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CPU", format!("{}, {} cores", self.cpu, self.cores)),
            ("Memory", format!("{:.1} GiB", self.memory_gib)),
            ("Kernel", self.kernel.clone()),
            ("File system", self.filesystem.clone()),
            (
                "4 KiB and fdatasync",
                format!("p50 {:.3} ms, p99 {:.3} ms", self.fsync_p50_ms, self.fsync_p99_ms),
            ),
            ("Load before the run", self.load_before.clone()),
            (
                "Saga",
                format!("{} (checkout {}), {} build", self.release, self.commit, self.profile),
            ),
            ("PostgreSQL", self.postgres.clone()),
            ("Command", self.command.clone()),
        ]
    }
}

/// Writes a page and waits until it is on disk, over and over: median and 99th percentile.
fn fsync(folder: &Path) -> anyhow::Result<(f64, f64)> {
    let why = || format!("the disk of {} cannot be measured", folder.display());
    let mut file = tempfile::tempfile_in(folder).with_context(why)?;
    let mut took: Vec<Duration> = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.seek(SeekFrom::Start(0)).with_context(why)?;
        file.write_all(&PAGE).with_context(why)?;
        file.sync_data().with_context(why)?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    let ms = |percent: usize| took[SYNCS * percent / 100].as_secs_f64() * 1_000.0;
    Ok((ms(50), ms(99)))
}

/// The value of the first line `NAME : VALUE`.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str, name: &str) -> f64 {
    let value = field(text, name).unwrap_or_default();
    value.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default()
}

/// The type of the mount with the longest path that leads to the folder.
fn filesystem(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let (path, kind) = (fields.get(1)?, fields.get(2)?);
        folder.starts_with(path).then(|| (path.len(), (*kind).to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn postgres() -> Option<String> {
    if let Some(url) = std::env::var_os(URL_VARIABLE) {
        let asked = version(url.to_str()?);
        return Some(asked.map_or_else(
            |error| format!("a server that was given and does not tell its version: {error:#}"),
            |version| format!("{}.{}, a server that was given", version / 10_000, version % 10_000),
        ));
    }
    let newest = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let program = newest.max()?.join("bin/postgres");
    said(program.to_str()?, &["--version"])
}

fn version(url: &str) -> anyhow::Result<i64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let version = async { Look::open(url).await?.number(VERSION).await };
    runtime.block_on(version)?.context("it says nothing")
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { unknown() } else { text.to_owned() }
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_with_the_longest_path_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpx xfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")).as_deref(), Some("tmpfs"));
        assert_eq!(filesystem(mounts, Path::new("/var")).as_deref(), Some("ext4"));
        assert_eq!(filesystem("", Path::new("/var")), None);
    }

    #[test]
    fn a_look_tells_at_least_the_disk_and_the_command() {
        let machine = Machine::look().unwrap();
        assert!(machine.fsync_p50_ms > 0.0 && machine.fsync_p50_ms <= machine.fsync_p99_ms);
        let facts = machine.facts();
        assert!(facts.contains("fdatasync") && facts.contains("checkout"), "{facts}");
        assert!(!machine.command.contains('/'), "{}", machine.command);
    }
}
