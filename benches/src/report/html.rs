//! The page of a run.

use super::Report;
use super::page::Page;
use super::svg::{Band, Line, Plot, Scale};
use crate::open::recorder::{Latencies, Second};

pub(super) fn render(report: &Report) -> String {
    let mut page = Page::new(&report.title);
    page.words(&format!(
        "Open loop: sagas arrive by a schedule, and latency counts from the arrival that was \
         intended to the verdict in the client's hands. Offered {:.0} sagas/s after a warm-up of \
         {:.0} s, verdicts {:.0} per second.",
        report.offered_per_s, report.warm_up_s, report.verdicts_per_s
    ));
    verdicts(&mut page, report);
    latencies(&mut page, report);
    over_time(&mut page, report);
    breakers(&mut page, report);
    page.heading("What was asked for");
    page.facts(&report.settings);
    page.heading("The machine");
    page.facts(&report.machine.lines());
    page.finish()
}

fn verdicts(page: &mut Page, report: &Report) {
    for finding in &report.audit.findings {
        page.wrong(finding);
    }
    for what in &report.audit.not_looked_at {
        page.words(&format!("Not audited: {what}."));
    }
    if report.audit.findings.is_empty() && !report.audit.looked_at.is_empty() {
        page.words(&format!("Audited, nothing found: {}.", report.audit.looked_at.join("; ")));
    }
    page.heading("How the sagas ended");
    let head = [
        "",
        "sagas",
        "completed",
        "compensated",
        "stopped",
        "no verdict",
        "not started",
        "not reached",
    ];
    let mut rows = Vec::new();
    let all = ("all", &report.ends);
    let phases = report.phases.iter().map(|phase| (phase.name.as_str(), &phase.ends));
    for (name, ends) in std::iter::once(all).chain(phases) {
        let counts = [
            ends.all(),
            ends.completed,
            ends.compensated,
            ends.stopped,
            ends.alive,
            ends.not_started,
            ends.not_reached,
        ];
        let cells = counts.iter().map(u64::to_string);
        rows.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    page.table(&head, &rows);
    page.words(&format!("How the load was put on: {}.", report.generator.words(report.ends.all())));
    if let Some(late) = report.put_on_late() {
        page.words(&format!("Not as planned: {late}."));
    }
    for reason in &report.reasons {
        page.words(&format!("Not well: {reason}"));
    }
}

fn latencies(page: &mut Page, report: &Report) {
    page.heading("Latency from intended arrival to verdict");
    let mut head = vec!["phase".to_owned(), "mean".to_owned()];
    let shown = |percentile: f64| (50.0..=100.0).contains(&percentile);
    let percentiles = report.latencies.percentiles.iter().map(|(percentile, _)| *percentile);
    head.extend(percentiles.filter(|p| shown(*p)).map(|p| format!("p{p} ms")));
    let phases = report.phases.iter().map(|phase| (phase.name.as_str(), &phase.latencies));
    let all: Vec<(&str, &Latencies)> =
        std::iter::once(("all", &report.latencies)).chain(phases).collect();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(name, of)| {
            let cells = of.percentiles.iter().filter(|(p, _)| shown(*p));
            let cells = cells.map(|(_, ms)| format!("{ms:.1}"));
            [(*name).to_owned(), format!("{:.1}", of.mean_ms)].into_iter().chain(cells).collect()
        })
        .collect();
    page.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    let lines = all.iter().map(|(name, of)| Line {
        name: (*name).to_owned(),
        // One in so many sagas is slower.
        points: of
            .percentiles
            .iter()
            .filter(|(p, _)| *p < 100.0)
            .map(|(p, ms)| (100.0 / (100.0 - p), *ms))
            .collect(),
    });
    page.plot(&Plot {
        x: "one saga in so many is slower",
        y: "ms",
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        lines: lines.collect(),
        bands: Vec::new(),
    });
}

fn over_time(page: &mut Page, report: &Report) {
    let plot = |y, y_scale, lines| Plot {
        x: "seconds",
        y,
        x_scale: Scale::Linear,
        y_scale,
        lines,
        bands: bands(report),
    };
    let line = |name: &str, of: fn(&Second) -> f64| Line {
        name: name.to_owned(),
        points: (0_u32..).map(f64::from).zip(report.seconds.iter().map(of)).collect(),
    };
    page.heading("Throughput over time");
    page.plot(&plot(
        "sagas/s",
        Scale::Linear,
        vec![
            line("arrived", |second| second.arrived as f64),
            line("ended", |second| second.ended as f64),
            line("not completed", |second| second.not_completed as f64),
        ],
    ));
    page.heading("Latency over time, by the second in which a saga was to arrive");
    page.plot(&plot(
        "ms",
        Scale::Log,
        vec![
            line("p50", |second| of_arrivals(second, second.p50_ms)),
            line("p99", |second| of_arrivals(second, second.p99_ms)),
            line("max", |second| of_arrivals(second, second.max_ms)),
        ],
    ));
    page.heading("Backlog: arrived and not ended");
    let backlog = report.backlog().into_iter().map(|sagas| sagas as f64);
    let points = (0_u32..).map(f64::from).zip(backlog).collect();
    page.plot(&plot("sagas", Scale::Linear, vec![Line { name: "backlog".to_owned(), points }]));
}

/// A second in which nothing was to arrive has no latency, not one of nothing.
fn of_arrivals(second: &Second, ms: f64) -> f64 {
    if second.arrived > 0 { ms } else { f64::NAN }
}

fn bands(report: &Report) -> Vec<Band> {
    let warm_up = Band { from: 0.0, until: report.warm_up_s, words: "warm-up".to_owned() };
    let troubles = report.troubles.iter().map(|trouble| Band {
        from: trouble.from_s,
        until: trouble.until_s,
        words: trouble.words(),
    });
    let frozen = report.frozen.map(|(from, until)| {
        let words = "the daemon stands still".to_owned();
        Band { from, until, words }
    });
    let warm_up = std::iter::once(warm_up).filter(|band| band.until > 0.0);
    warm_up.chain(troubles).chain(frozen).collect()
}

/// When what was due then was done, where that is known.
fn turned(report: &Report, due: f64) -> String {
    let turned = report.turned.iter().find(|turned| turned.due_s == due);
    turned.map_or_else(String::new, |turned| format!(" (done at {:.2} s)", turned.done_s))
}

/// A step up for each state, so that open is above half-open above closed.
fn breakers(page: &mut Page, report: &Report) {
    page.heading("Breakers");
    for trouble in &report.troubles {
        let (from, until) = (trouble.from_s, trouble.until_s);
        let done = [from, until].map(|due| turned(report, due));
        page.words(&format!(
            "From {from} s{} to {until} s{}: {}.",
            done[0],
            done[1],
            trouble.words()
        ));
    }
    let unknown = &report.breakers_unknown_s;
    if !unknown.is_empty() {
        let (n, first) = (unknown.len(), unknown[0]);
        page.words(&format!(
            "At {n} looks, first at {first} s, nobody told how the breakers were: gaps in the plot."
        ));
    }
    if report.breakers.is_empty() {
        page.words("Every breaker was closed whenever it told its state.");
        return;
    }
    let mut guarded: Vec<String> =
        report.breakers.iter().map(|b| format!("{} {}", b.participant, b.op)).collect();
    guarded.sort();
    guarded.dedup();
    let level = |state: &str| match state {
        "open" => 3.0,
        "half_open" => 2.0,
        "releasing" => 1.0,
        _ => 0.0,
    };
    let lines = guarded.into_iter().map(|name| {
        let points = (0..report.seconds.len()).map(|second| {
            let at = second as f64;
            let seen = report
                .breakers
                .iter()
                .filter(|b| b.at_s.floor() == at && format!("{} {}", b.participant, b.op) == name);
            match report.breakers_unknown_s.iter().any(|s| s.floor() == at) {
                true => (at, f64::NAN),
                false => (at, seen.map(|b| level(&b.state)).fold(0.0, f64::max)),
            }
        });
        Line { points: points.collect(), name }
    });
    page.plot(&Plot {
        x: "seconds",
        y: "0 closed … 3 open",
        x_scale: Scale::Linear,
        y_scale: Scale::Linear,
        lines: lines.collect(),
        bands: bands(report),
    });
    page.words("3 open, 2 half-open, 1 releasing in waves, 0 closed.");
}
