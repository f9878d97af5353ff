//! The table of the source design: the order system while one participant is slow and failing, (a)
//! without breakers and with a fixed bound of the delay, (b) with breakers and exponential backoff.

mod row;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser};
use serde_json::json;

use crate::load::StoreKind;
use crate::open::schedule::{duration, rate};
use crate::open::{self, measure};
use crate::report::Report;
use row::Row;

/// Seconds of load before each run, and of the run that finds out what this machine can do.
const WARM_UP_S: f64 = 5.0;
const CALIBRATION_S: f64 = 8.0;
/// Orders under way while that is found out: enough for throughput, too few for timeouts.
const CALIBRATION_LANES: u32 = 64;
/// The share of what the machine can do that is offered: a system that is full shows its queue.
const SHARE: f64 = 0.8;
/// How much more than is wanted is offered meanwhile, so that a machine that can do all shows it.
const OVERLOAD: f64 = 2.0;
/// Mean delay between attempts in (a), whose bound is 200 ms.
const MEAN_DELAY_S: f64 = 0.1;

/// The two runs of the table.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where sagas and books are stored
    #[arg(long, value_enum, default_value = "postgres")]
    store: StoreKind,

    /// Orders offered per second, or four fifths of what this machine can do if that is less
    #[arg(long, default_value = "5000", value_parser = rate)]
    rate: f64,

    /// Offer `--rate` whether or not this machine can do it, without finding out
    #[arg(long)]
    exact: bool,

    /// Length of each run after its warm-up; after a third of it the trouble begins, for a sixth
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
    #[arg(long, default_value = "slow=30%,error=25%", value_name = "MIX")]
    trouble: String,

    /// Decides which calls go wrong
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Write the reports to PATH-a and PATH-b, .json and .html
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: open::Options,
}

/// What is offered, and why.
#[derive(Clone, Copy, Debug)]
struct Offer {
    per_s: f64,
    /// What this machine can do, where that was found out.
    capacity_per_s: Option<f64>,
}

impl Offer {
    fn of(wanted_per_s: f64, capacity_per_s: f64) -> Self {
        let per_s = wanted_per_s.min((SHARE * capacity_per_s).floor().max(1.0));
        Self { per_s, capacity_per_s: Some(capacity_per_s) }
    }
}

/// When the trouble begins and ends, in seconds from the first order, and how patient compensations are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    from_s: f64,
    until_s: f64,
    attempts_persistent: u64,
}

impl Plan {
    fn new(seconds: f64) -> Self {
        let (from_s, lasts) = (WARM_UP_S + seconds / 3.0, seconds / 6.0);
        // A compensation goes on for twice as long as the trouble lasts, as in a real configuration.
        let attempts = (2.0 * lasts / MEAN_DELAY_S).ceil().max(20.0);
        Self { from_s, until_s: from_s + lasts, attempts_persistent: attempts as u64 }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // What fits no run is refused before this machine is put to work.
    parse(&line(options, options.rate, ""))?.check()?;
    eprintln!("{}", words::estimate(options));
    let offer = offer(options)?;
    eprintln!("{}", words::offered(options, offer));
    let a = one(options, offer, 'a', "--breaker off --backoff fixed")?;
    let b = one(options, offer, 'b', "--breaker on --breaker-share 0 --backoff exponential")?;
    let mut rows = Row::theirs();
    rows.push(Row::ours("ours, a: no breaker, delay to 200 ms", &a));
    rows.push(Row::ours("ours, b: breaker, exponential backoff", &b));
    let words = [words::baseline(&b), words::offered(options, offer), words::differs(options, &b)];
    let warnings = warnings(options, &a, &b);
    if options.json {
        let Offer { per_s, capacity_per_s } = offer;
        let object = json!({
            "bench": "table", "store": options.store, "seed": options.seed, "offered_per_s": per_s,
            "capacity_per_s": capacity_per_s, "rows": rows, "baseline_met": row::baseline_met(&b),
            "words": words, "warnings": warnings, "machine": b.machine,
        });
        println!("{object}");
    } else {
        Row::print_head();
        rows.iter().for_each(Row::print);
        words.iter().for_each(|words| println!("\n{words}"));
    }
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let wrong = [wrong('a', &a), wrong('b', &b)].concat();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

/// A short run with more orders than any machine takes: its throughput is what this one can do.
fn offer(options: &Options) -> anyhow::Result<Offer> {
    if options.exact {
        return Ok(Offer { per_s: options.rate, capacity_per_s: None });
    }
    let Options { store, rate, seed, .. } = options;
    let overload = (OVERLOAD * rate).min(1_000_000.0);
    let report = load(
        &format!(
            "--store {} --rate {overload} --seed {seed} --seconds {CALIBRATION_S}s --warm-up 3s --drain 1s \
             --in-flight-max {CALIBRATION_LANES} --timeout 5s --breaker off",
            store.name()
        ),
        "What this machine can do",
    )?;
    ensure!(report.verdicts_per_s > 0.0, "no order was completed while capacity was looked for");
    Ok(Offer::of(*rate, report.verdicts_per_s))
}

/// The options of one of the two runs, as a command line would give them.
fn line(options: &Options, per_s: f64, policies: &str) -> String {
    let Options { store, drain, in_flight_max, participant, trouble, seed, .. } = options;
    let seconds = options.seconds.as_secs_f64();
    let Plan { from_s, until_s, attempts_persistent } = Plan::new(seconds);
    format!(
        "--store {} --rate {per_s} --seed {seed} --seconds {seconds}s --warm-up {WARM_UP_S}s --drain {}s \
         --in-flight-max {in_flight_max} --slow-by 1500ms --timeout 1s --attempts 3 \
         --attempts-persistent {attempts_persistent} --delay 200ms \
         --trouble {participant}:{trouble}:{from_s}s-{until_s}s {policies}",
        store.name(),
        drain.as_secs_f64(),
    )
}

fn one(options: &Options, offer: Offer, name: char, policies: &str) -> anyhow::Result<Report> {
    let line = line(options, offer.per_s, policies);
    let title = format!("Orders with a participant in trouble, {name}: {policies}");
    let report = load(&line, &title)?;
    eprintln!("{}", report.summary());
    if let Some(path) = &options.report {
        let mut path = path.clone().into_os_string();
        path.push(format!("-{name}"));
        report.write(&PathBuf::from(path))?;
    }
    Ok(report)
}

fn load(line: &str, title: &str) -> anyhow::Result<Report> {
    eprintln!("{title}: saga-bench load --target orders {line}");
    measure(&parse(line)?, title)
}

fn parse(line: &str) -> anyhow::Result<open::Options> {
    let words = ["load", "--target", "orders"].into_iter().chain(line.split_whitespace());
    Ok(Line::try_parse_from(words)?.options)
}

/// What makes a run fail, whatever its speed.
fn wrong(name: char, report: &Report) -> Vec<String> {
    let mut wrong = report.audit.findings.clone();
    let unsettled = report.ends.stopped + report.ends.alive;
    if unsettled > 0 {
        wrong.push(format!("{unsettled} orders ended neither completed nor compensated"));
    }
    wrong.into_iter().map(|wrong| format!("{name}: {wrong}")).collect()
}

/// What the reader of the table has to know.
fn warnings(options: &Options, a: &Report, b: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let Options { participant, .. } = options;
    if !b.breakers.iter().any(|seen| seen.participant == *participant && seen.op == "action") {
        warnings.push(format!(
            "the breaker of the actions of {participant} was never seen open in b: the figures say \
             nothing about breakers"
        ));
    }
    for (name, report) in [('a', a), ('b', b)] {
        let ends = &report.ends;
        if ends.not_started + ends.not_reached > 0 {
            warnings.push(format!(
                "{name}: {} orders were refused and {} not reached before the drain was over, so the \
                 books were not audited: that nothing was lost is not shown",
                ends.not_started, ends.not_reached
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use saga_core::{Admission, Breaker, BreakerPolicy, CallResult, Timestamp};

    use super::*;

    #[test]
    fn compensations_go_on_for_twice_as_long_as_the_trouble_lasts() {
        let plan = Plan::new(60.0);
        assert_eq!((plan.from_s, plan.until_s, plan.attempts_persistent), (25.0, 35.0, 200));
        assert_eq!(Plan::new(3.0).attempts_persistent, 20, "as a real configuration has at least");
    }

    #[test]
    fn a_machine_that_can_do_more_is_offered_all_and_another_four_fifths_of_what_it_can() {
        let seen_at_most = OVERLOAD * 100.0;
        assert_eq!(Offer::of(100.0, 0.9 * seen_at_most).per_s, 100.0);
        assert_eq!(Offer::of(5_000.0, 300.0).per_s, 240.0);
    }

    /// Calls at an even rate: 25 healthy seconds, then ten in which a share fails.
    fn seconds_until_it_opens(percent_min: u32, failing_percent: u64) -> Option<u64> {
        let policy = BreakerPolicy { failure_percent_min: percent_min, ..BreakerPolicy::default() };
        let mut breaker = Breaker::new(policy);
        for call in 0..35_000_u64 {
            let now = Timestamp::from_micros(i64::try_from(call).unwrap() * 1_000);
            let Admission::Go(permit) = breaker.admit(now) else { return Some(call / 1_000 - 25) };
            let failed = call >= 25_000 && call * 37 % 100 < failing_percent;
            let result = if failed { CallResult::Failed } else { CallResult::Answered };
            breaker.settle(now, permit, result);
        }
        None
    }

    #[test]
    fn half_of_all_calls_never_fail_within_the_window_and_any_share_opens_it_at_once() {
        assert_eq!(seconds_until_it_opens(50, 55), None);
        assert_eq!(seconds_until_it_opens(0, 55), Some(0));
    }
}
