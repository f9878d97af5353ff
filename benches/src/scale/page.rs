//! The report: a file for programs, and a page with a table and plots for each dimension.

use std::path::Path;

use serde_json::json;

use super::series::{Dimension, Point, Ran, Series};
use crate::load::StoreKind;
use crate::machine::Machine;
use crate::report::page::Page;
use crate::report::svg::{Line, Plot, Scale};
use crate::report::{with_extension, write as write_file};

/// A line of a plot, and where its values come from.
type Source = (&'static str, fn(&Ran) -> Option<f64>);

/// Writes `PATH.json` and `PATH.html`.
pub(super) fn write(
    path: &Path,
    store: StoreKind,
    machine: &Machine,
    all: &[Series],
) -> anyhow::Result<()> {
    let points: Vec<_> = all.iter().flat_map(|series| &series.points).collect();
    let growth: Vec<_> = all.iter().flat_map(Series::growth).collect();
    let object =
        json!({ "bench": "scale", "machine": machine, "points": points, "growth": growth });
    write_file(&with_extension(path, "json"), &serde_json::to_string_pretty(&object)?)?;
    write_file(&with_extension(path, "html"), &render(store, machine, all))
}

fn render(store: StoreKind, machine: &Machine, all: &[Series]) -> String {
    let mut page = Page::new(&format!("How cost grows on {}", store.name()));
    page.words(
        "One dimension at a time, each run on a database of its own. A closed loop of clients, but for \
         the sagas that wait and are due at once. CPU is per saga; bytes are what was written for each. \
         Every verdict was checked.",
    );
    for series in all {
        section(&mut page, series);
    }
    page.heading("The machine");
    page.facts(&machine.lines());
    page.finish()
}

fn section(page: &mut Page, series: &Series) {
    page.heading(heading(series.dimension));
    for growth in series.growth() {
        page.words(&growth.words);
    }
    let head = series.points.first().map(Point::head).unwrap_or_default();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    page.table(&head, &series.points.iter().map(Point::cells).collect::<Vec<_>>());
    let throughput: [Source; 1] = [("sagas/s", |ran| of_loop(ran, |of| of.sagas_per_s))];
    let latency: [Source; 2] =
        [("p50", |ran| of_loop(ran, |of| of.p50_ms)), ("p99", |ran| of_loop(ran, |of| of.p99_ms))];
    let time: [Source; 1] = [("until all have run", |ran| of_due(ran, |of| of.seconds))];
    let fresh: [Source; 3] = [
        ("fresh p50", |ran| of_due(ran, |of| of.fresh_p50_ms)),
        ("fresh p99", |ran| of_due(ran, |of| of.fresh_p99_ms)),
        ("p99 before", |ran| of_due(ran, |of| of.fresh_before_p99_ms)),
    ];
    match series.dimension {
        Dimension::Due => {
            page.plot(&plot(series, "seconds", &time));
            page.plot(&plot(series, "ms", &fresh));
        }
        Dimension::Concurrency
        | Dimension::Workers
        | Dimension::Steps
        | Dimension::Payload
        | Dimension::History => {
            page.plot(&plot(series, "sagas/s", &throughput));
            page.plot(&plot(series, "ms", &latency));
        }
    }
    if series.points.first().is_some_and(|point| point.size == 0) {
        page.words("Nothing at all is drawn at the left edge.");
    }
}

fn heading(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Concurrency => "Clients at once",
        Dimension::Workers => "Workers",
        Dimension::Steps => "Steps of each saga",
        Dimension::Payload => "Bytes of input of each saga",
        Dimension::History => "Finished sagas in the tables",
        Dimension::Due => "Waiting sagas that are due at the same moment",
    }
}

/// Both axes by their logarithms: a power law is a straight line.
fn plot(series: &Series, y: &'static str, sources: &[Source]) -> Plot {
    let line = |(name, value): &Source| Line {
        name: (*name).to_owned(),
        points: series
            .points
            .iter()
            .filter_map(|point| Some((point.size as f64, value(&point.ran)?)))
            .collect(),
    };
    Plot {
        x: series.dimension.unit(),
        y,
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        lines: sources.iter().map(line).collect(),
        bands: Vec::new(),
    }
}

fn of_loop(ran: &Ran, figure: fn(&crate::figures::Figures) -> f64) -> Option<f64> {
    match ran {
        Ran::Loop(figures) => Some(figure(figures)),
        Ran::Due(_) => None,
    }
}

fn of_due(ran: &Ran, figure: fn(&super::due::Figures) -> f64) -> Option<f64> {
    match ran {
        Ran::Due(figures) => Some(figure(figures)),
        Ran::Loop(_) => None,
    }
}
