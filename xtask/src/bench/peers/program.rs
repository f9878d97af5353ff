//! A peer's program: it runs the workload and says when the measurement begins, ends, and its figures.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::super::cpu;
use super::super::table::Figures;
use super::Load;

/// How long a program may take beyond what it measures.
const SLACK: Duration = Duration::from_secs(120);

/// A line of it.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Said {
    Begin,
    End,
    Figures { sagas: u64, sagas_per_s: f64, p50_ms: f64, p99_ms: f64 },
}

/// Runs a program and takes the CPU time of everything that works for it, from the beginning of its
/// measurement to the end.
pub(super) async fn measure(
    mut program: Command,
    store: &str,
    load: Load,
    servers: &[u32],
) -> anyhow::Result<Figures> {
    program.args(["--store", store, "--concurrency", &load.concurrency.to_string()]);
    program.args(["--seconds", &load.seconds.to_string()]);
    program.args(["--warm-up", &load.warm_up.to_string()]);
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
                    return Ok(Figures { sagas_per_s, p50_ms, p99_ms, cpu_s, spread: None });
                }
            }
        }
        bail!("its program ended without figures, with {}: it says why above", child.wait().await?)
    };
    let within = SLACK + Duration::from_secs(load.warm_up + load.seconds);
    timeout(within, reading).await.context("its program took too long")?
}
