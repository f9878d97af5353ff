//! Whether the load generator sees what it is there to see: a daemon that stands still.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser};

use super::{Options, measure};
use crate::load::StoreKind;

/// For how long the daemon is frozen.
const FROZEN: Duration = Duration::from_secs(2);

/// The check of the generator itself.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Where the sagas are stored
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreKind,
}

/// The options of the run, as a command line would give them.
#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Freezes a daemon for two seconds in the middle of a run of ten. A fifth of all sagas are to
/// arrive while it stands still, so the 90th percentile has to show it, and every saga has to end.
pub(crate) fn run(check: &Check) -> anyhow::Result<()> {
    let line = format!(
        "selfcheck --target daemon --store {} --rate 100 --seconds 10s --warm-up 2s --timeout 10s \
         --in-flight-max 300 --freeze 6s:2s",
        check.store.name()
    );
    let options = Line::try_parse_from(line.split(' '))?.options;
    let report = measure(&options, "A daemon frozen for two seconds")?;
    println!("{}", report.summary());
    let latencies = &report.latencies;
    let at = |percentile: f64| {
        let found = latencies.percentiles.iter().find(|(p, _)| *p == percentile);
        found.map_or(0.0, |(_, ms)| *ms)
    };
    let frozen_ms = FROZEN.as_secs_f64() * 1_000.0;
    let phase = |name| report.phase(name).map(|phase| &phase.latencies);
    let (before, during) = (phase("healthy"), phase("trouble"));
    let (before, during) = before.zip(during).context("the freeze is no phase of the report")?;
    ensure!(report.ends.completed == report.ends.all(), "not every saga was completed");
    ensure!(
        latencies.p99_ms > 0.9 * frozen_ms && at(90.0) > 0.4 * frozen_ms,
        "the daemon stood still for {frozen_ms} ms of 10 s, but p99 is {} ms and p90 {} ms",
        latencies.p99_ms,
        at(90.0)
    );
    // What was to arrive while the daemon stood still waited for the rest of that time, half on average.
    ensure!(
        during.p50_ms > 0.45 * frozen_ms && during.max_ms > 0.95 * frozen_ms,
        "half of the sagas that were to arrive in {frozen_ms} ms of standing still waited for {} ms at \
         most, and none for more than {} ms",
        during.p50_ms,
        during.max_ms
    );
    if before.p50_ms >= during.p50_ms {
        let (before, during) = (before.p50_ms, during.p50_ms);
        eprintln!(
            "warning: sagas before the freeze were as slow (p50 {before} ms) as those in it ({during} ms): \
             on a machine as busy as this one that they waited says little"
        );
    }
    ensure!(report.audit.findings.is_empty(), "the audit found something");
    println!(
        "as it should be: frozen for {frozen_ms:.0} ms, p90 {:.0} ms, p99 {:.0} ms; p50 of what arrived \
         before {:.1} ms",
        at(90.0),
        latencies.p99_ms,
        before.p50_ms
    );
    Ok(())
}
