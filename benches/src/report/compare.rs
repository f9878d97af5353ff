//! Two runs side by side: what counts is the ratio, because machines and moments differ.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Report;
use crate::open::recorder::{Ends, Latencies};

/// Two reports of `load`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The report to compare with
    #[arg(value_name = "A.json")]
    a: PathBuf,

    /// The report that is compared
    #[arg(value_name = "B.json")]
    b: PathBuf,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A figure of both.
#[derive(Debug, PartialEq)]
struct Pair {
    name: String,
    a: f64,
    b: f64,
}

impl Pair {
    /// `None` where the first is nothing.
    fn ratio(&self) -> Option<f64> {
        (self.a != 0.0).then(|| self.b / self.a)
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (a, b) = (Report::read(&options.a)?, Report::read(&options.b)?);
    let (pairs, differences) = (pairs(&a, &b), differences(&a, &b));
    if options.json {
        let pairs = pairs.iter().map(
            |pair| json!({"name": pair.name, "a": pair.a, "b": pair.b, "ratio": pair.ratio()}),
        );
        let pairs: Vec<_> = pairs.collect();
        println!("{}", json!({"bench": "compare", "figures": pairs, "differences": differences}));
        return Ok(());
    }
    println!("{:>28} {:>12} {:>12} {:>8}", "", "A", "B", "B / A");
    for pair in &pairs {
        let ratio = pair.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{:>28} {:>12.2} {:>12.2} {ratio:>8}", pair.name, pair.a, pair.b);
    }
    for difference in differences {
        println!("differs: {difference}");
    }
    Ok(())
}

fn pairs(a: &Report, b: &Report) -> Vec<Pair> {
    let mut pairs = vec![
        pair("offered sagas/s", a.offered_per_s, b.offered_per_s),
        pair("verdicts/s", a.verdicts_per_s, b.verdicts_per_s),
        pair("not completed %", not_completed(&a.ends), not_completed(&b.ends)),
    ];
    let disk = (a.machine.fsync_p50_ms, b.machine.fsync_p50_ms);
    pairs.push(pair("4 KiB and fdatasync, p50 ms", disk.0, disk.1));
    pairs.extend(latencies("", &a.latencies, &b.latencies));
    for phase in a.phases.iter().filter(|_| a.phases.len() > 1) {
        if let Some(other) = b.phase(&phase.name) {
            let name = format!("{}: ", phase.name);
            let ends = (not_completed(&phase.ends), not_completed(&other.ends));
            pairs.push(pair(&format!("{name}not completed %"), ends.0, ends.1));
            pairs.extend(latencies(&name, &phase.latencies, &other.latencies));
        }
    }
    pairs
}

fn latencies(before: &str, a: &Latencies, b: &Latencies) -> Vec<Pair> {
    let figures = [
        ("p50 ms", a.p50_ms, b.p50_ms),
        ("p99 ms", a.p99_ms, b.p99_ms),
        ("max ms", a.max_ms, b.max_ms),
    ];
    figures.map(|(name, a, b)| pair(&format!("{before}{name}"), a, b)).into()
}

fn pair(name: &str, a: f64, b: f64) -> Pair {
    Pair { name: name.to_owned(), a, b }
}

pub(crate) fn not_completed(ends: &Ends) -> f64 {
    match ends.all() {
        0 => 0.0,
        all => (all - ends.completed) as f64 * 100.0 / all as f64,
    }
}

/// What makes the two runs different, beside their figures.
fn differences(a: &Report, b: &Report) -> Vec<String> {
    let settings = a.settings.iter().filter_map(|(name, value)| {
        let (_, other) = b.settings.iter().find(|(other, _)| other == name)?;
        (value != other).then(|| format!("{name}: {value} and {other}"))
    });
    let machine = a.machine.lines().into_iter().zip(b.machine.lines());
    let machine = machine.filter(|((name, a), (_, b))| {
        !matches!(*name, "Command" | "4 KiB and fdatasync" | "Load before the run") && a != b
    });
    settings.chain(machine.map(|((name, a), (_, b))| format!("{name}: {a} and {b}"))).collect()
}
