//! What the soak did and found: a table for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::checker::Checked;
use super::crew::Crew;
use super::ground::Server;
use super::options::Options;
use super::tally::Counted;
use crate::demo::screen::Screen;

/// The outcome of a soak.
#[derive(Debug)]
pub(super) struct Report {
    counted: Counted,
    checked: Checked,
    points: BTreeMap<&'static str, u64>,
    lagging: Vec<String>,
    acknowledged: usize,
    late_appends: u64,
    fenced_appends: u64,
    /// How long PostgreSQL was down, in all.
    down: Duration,
    /// How long faults were done, how long the verdicts took after that, and all of it.
    raged: Duration,
    settled: Duration,
    elapsed: Duration,
}

impl Report {
    pub(super) fn new(
        crew: &Crew,
        checked: Checked,
        acknowledged: usize,
        [raged, settled, elapsed]: [Duration; 3],
    ) -> Self {
        Self {
            counted: crew.tally.counted(),
            checked,
            points: crew.armoury.hits(),
            lagging: crew.armoury.lagging(),
            acknowledged,
            late_appends: crew.armoury.noted("append.late"),
            fenced_appends: crew.armoury.noted("append.fenced"),
            down: crew.ground.server().map_or(Duration::ZERO, Server::down),
            raged,
            settled,
            elapsed,
        }
    }

    /// Whether nothing was violated and every crash point was hit often enough.
    pub(super) fn is_well(&self) -> bool {
        self.violations() == 0 && self.lagging.is_empty()
    }

    fn of_version(&self, version: u32) -> u64 {
        self.checked.versions.get(&version).copied().unwrap_or_default()
    }

    fn violations(&self) -> u64 {
        self.counted.violations.values().sum()
    }

    /// Prints it.
    pub(super) fn show(&self, options: &Options, screen: &mut Screen) {
        screen.say(format!(
            "\n{} with {} workers, seed {}: {} s of faults, verdicts {:.1} s later",
            options.store.word(),
            options.workers,
            options.seed,
            self.raged.as_secs(),
            self.settled.as_secs_f64(),
        ));
        table(screen, "faults done", self.counted.faults.iter());
        table(screen, "deaths at crash points", self.points.iter());
        table(screen, "sagas", self.checked.statuses.iter());
        let checks = [
            ("orders acknowledged", self.acknowledged as u64),
            ("orders placed together with their saga", self.checked.together),
            ("sagas of version 1", self.of_version(1)),
            ("sagas of version 2", self.of_version(2)),
            ("transitions replayed", self.checked.transitions),
            ("positions seen on the way", self.checked.marks),
            ("calls with their intent", self.checked.calls),
            ("commands with one answer", self.checked.commands),
            ("stopped workers watched", self.checked.woken),
            ("their calls after that, for sagas of others", self.checked.stale_calls),
            ("their appends that the fence refused", self.checked.stale_appends),
            ("drains that left nothing behind", self.counted.drained),
            ("sagas that retention deleted", self.checked.forgotten),
            ("appends that came late", self.late_appends),
            ("appends that the fence refused", self.fenced_appends),
        ];
        table(screen, "checked", checks.iter().map(|(name, number)| (name, number)));
        table(screen, "violations", self.counted.violations.iter());
        for finding in &self.counted.findings {
            screen.say(format!("  {finding}"));
        }
        for point in &self.lagging {
            screen.say(format!("  crash point {point} was not hit often enough"));
        }
        screen.say(match (self.violations(), options.plant) {
            (0, None) => "\nno violations".to_owned(),
            (0, Some(plant)) => {
                format!("\nthe planted bug `{}` was not found: the soak is too weak", plant.word())
            }
            (number, None) => format!("\n{number} violations"),
            (number, Some(plant)) => {
                format!("\n{number} violations, as the planted bug `{}` must have", plant.word())
            }
        });
        if options.json {
            println!("{}", self.json(options));
        }
    }

    fn json(&self, options: &Options) -> Value {
        json!({
            "store": options.store.word(),
            "workers": options.workers,
            "seed": options.seed,
            "plant": options.plant.map(super::options::Plant::word),
            "orders": self.acknowledged,
            "sagas": self.checked.statuses,
            "transitions": self.checked.transitions,
            "calls": self.checked.calls,
            "commands": self.checked.commands,
            "together": self.checked.together,
            "versions": [self.of_version(1), self.of_version(2)],
            "stale_appends": self.checked.stale_appends,
            "drained": self.counted.drained,
            "forgotten": self.checked.forgotten,
            "stale_calls": self.checked.stale_calls,
            "late_appends": self.late_appends,
            "fenced_appends": self.fenced_appends,
            "faults": self.counted.faults,
            "crash_points": self.points,
            "crash_points_lagging": self.lagging,
            "violations": self.violations(),
            "violations_by_invariant": self.counted.violations,
            "findings": self.counted.findings,
            "down_s": self.down.as_secs_f64(),
            "raged_s": self.raged.as_secs_f64(),
            "settled_s": self.settled.as_secs_f64(),
            "elapsed_s": self.elapsed.as_secs_f64(),
        })
    }
}

/// One line per entry; none is said as well.
fn table<'a>(
    screen: &mut Screen,
    title: &str,
    entries: impl Iterator<Item = (&'a &'a str, &'a u64)>,
) {
    screen.say(format!("{title}:"));
    let mut is_empty = true;
    for (name, number) in entries {
        is_empty = false;
        screen.say(format!("  {number:>8}  {name}"));
    }
    if is_empty {
        screen.say("  none");
    }
}
