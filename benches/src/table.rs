//! The table of the source design: the order system while one participant is slow and failing, (a)
//! without breakers and with a fixed delay, (b) with breakers and exponential backoff.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser};

use crate::load::StoreKind;
use crate::open::recorder::Ends;
use crate::open::schedule::{duration, rate};
use crate::open::{self, measure};
use crate::report::Report;
use crate::report::compare::not_completed;

/// The two runs of the table.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where sagas and books are stored
    #[arg(long, value_enum, default_value = "postgres")]
    store: StoreKind,

    /// Orders offered per second
    #[arg(long, default_value = "5000", value_parser = rate)]
    rate: f64,

    /// Length of each run after its warm-up; the participant is in trouble in the middle third
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    seconds: Duration,

    /// How long verdicts are waited for after the last order
    #[arg(long, default_value = "300s", value_parser = duration, value_name = "DURATION")]
    drain: Duration,

    /// Most orders under way at once
    #[arg(long, default_value_t = 1_024)]
    in_flight_max: u32,

    /// The participant that gets into trouble
    #[arg(long, default_value = "points")]
    participant: String,

    /// What its trouble is
    #[arg(long, default_value = "slow=50%,error=30%", value_name = "MIX")]
    trouble: String,

    /// Write the reports to PATH-a and PATH-b, .json and .html
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: open::Options,
}

/// One line of the table.
#[derive(Debug)]
struct Row {
    name: &'static str,
    per_s: String,
    healthy_p99: String,
    p99: String,
    failed: String,
    compensated: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let a = one(options, 'a', "--breaker off --backoff fixed")?;
    let b = one(options, 'b', "--breaker on --backoff exponential")?;
    let rows = [
        Row::theirs("theirs, a: no breaker, fixed timeout", "1420", "2.7 %", "91.3 %"),
        Row::theirs("theirs, b: breaker, exponential backoff", "680", "0.18 %", "99.6 %"),
        Row::ours("ours, a: no breaker, fixed delay", &a),
        Row::ours("ours, b: breaker, exponential backoff", &b),
    ];
    println!(
        "{:>40} {:>9} {:>12} {:>9} {:>10} {:>14}",
        "", "orders/s", "healthy p99", "p99 ms", "failed", "compensations"
    );
    for Row { name, per_s, healthy_p99, p99, failed, compensated } in rows {
        println!("{name:>40} {per_s:>9} {healthy_p99:>12} {p99:>9} {failed:>10} {compensated:>14}");
    }
    println!("\n{}", differs(options, &b));
    for report in [&a, &b] {
        ensure!(
            report.audit.findings.is_empty(),
            "the audit found: {}",
            report.audit.findings.join("; ")
        );
    }
    Ok(())
}

fn one(options: &Options, name: char, policies: &str) -> anyhow::Result<Report> {
    let warm_up = 5.0;
    let third = options.seconds.as_secs_f64() / 3.0;
    let (from, until) = (warm_up + third, warm_up + 2.0 * third);
    let Options { store, rate, drain, in_flight_max, participant, trouble, .. } = options;
    let line = format!(
        "table --target orders --store {} --rate {rate} --seconds {}s --warm-up {warm_up}s --drain {}s \
         --in-flight-max {in_flight_max} --slow-by 1500ms --timeout 1s --attempts 3 --delay 200ms \
         --trouble {participant}:{trouble}:{from}s-{until}s {policies}",
        store.name(),
        options.seconds.as_secs_f64(),
        drain.as_secs_f64(),
    );
    eprintln!("{name}: saga-bench load {}", line.trim_start_matches("table "));
    let options_of_run = Line::try_parse_from(line.split_whitespace())?.options;
    let report = measure(
        &options_of_run,
        &format!("Orders with a participant in trouble, {name}: {policies}"),
    )?;
    eprintln!("{}", report.summary());
    if let Some(path) = &options.report {
        let mut path = path.clone().into_os_string();
        path.push(format!("-{name}"));
        report.write(&PathBuf::from(path))?;
    }
    Ok(report)
}

impl Row {
    fn theirs(name: &'static str, p99: &str, failed: &str, compensated: &str) -> Self {
        let text = str::to_owned;
        let unknown = || text("-");
        let (failed, compensated) = (text(failed), text(compensated));
        Self { name, per_s: unknown(), healthy_p99: unknown(), p99: text(p99), failed, compensated }
    }

    fn ours(name: &'static str, report: &Report) -> Self {
        let healthy = report.phase("healthy").map(|phase| phase.latencies.p99_ms);
        Self {
            name,
            per_s: format!("{:.0}", report.verdicts_per_s),
            healthy_p99: healthy.map_or_else(|| "-".to_owned(), |p99| format!("{p99:.0}")),
            p99: format!("{:.0}", report.latencies.p99_ms),
            failed: format!("{:.2} %", not_completed(&report.ends)),
            compensated: compensated(&report.ends),
        }
    }
}

/// Of the sagas that turned back, those that have been compensated. Whatever has no verdict may
/// have turned back and counts as not compensated.
fn compensated(ends: &Ends) -> String {
    let Ends { compensated, stopped, alive, .. } = ends;
    match compensated + stopped + alive {
        0 => "none".to_owned(),
        all => format!("{:.2} %", *compensated as f64 * 100.0 / all as f64),
    }
}

fn differs(options: &Options, report: &Report) -> String {
    let cores = report.machine.cores;
    format!(
        "What differs: theirs is told for 5,000 orders/s on machines that are not described; ours are \
         offered {} orders/s on {cores} cores that run the load, the daemon, five services and all \
         databases ({}). Ours is an open loop: where the machine cannot keep up, the waiting is part of \
         p99. Failed are all orders that were not completed, for whatever reason. In trouble is `{}` \
         for the middle third ({}), the answers slow by 1.5 s with a timeout of 1 s.",
        options.rate,
        options.store.name(),
        options.participant,
        options.trouble,
    )
}
