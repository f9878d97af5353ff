//! What the demo tells at its end: to people in tables, to programs in one JSON object.

use std::time::Duration;

use serde::Serialize;

use super::api::Status;
use super::books::Audit;
use super::options::Options;
use super::screen::Screen;
use super::verdicts::{self, Ended};
use crate::text;

/// All that is known at the end of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub ended: Vec<Ended>,
    pub audit: Audit,
    /// Orders that were posted more than once.
    pub repeated: usize,
    pub kills: usize,
    pub elapsed: Duration,
    /// The lines of one compensated saga; empty without one.
    pub journey: Vec<String>,
    /// What is wrong beside the books, each in words.
    pub problems: Vec<String>,
}

/// The JSON object; its fields are a promise to programs.
#[derive(Debug, Serialize)]
struct Summary {
    orders: usize,
    completed: usize,
    compensated: usize,
    stuck: usize,
    stopped: usize,
    running: usize,
    compensating: usize,
    duplicate_effects: u64,
    lost_effects: u64,
    orphaned_effects: u64,
    kills: usize,
    store: &'static str,
    definition: &'static str,
    workers: u32,
    books_balance: bool,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    elapsed_s: f64,
    seed: u64,
    faults: &'static str,
    repeated_calls: usize,
    ok: bool,
    problems: Vec<String>,
}

impl Report {
    /// Whether every order has its verdict and every effect is where it belongs.
    pub(crate) fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.audit.balances() && !self.ended.iter().any(Ended::is_alive)
    }

    /// Tells it to people.
    pub(crate) fn show(&self, options: &Options, screen: &mut Screen) {
        screen.say("");
        screen.say("verdicts, and the time from start to verdict");
        self.verdict_table().into_iter().for_each(|line| screen.say(line));
        let repeated = text::count(self.repeated, "order");
        screen.say(format!("  {}; {repeated} posted more than once", self.workers(options)));
        if !self.journey.is_empty() {
            screen.say("");
            self.journey.iter().for_each(|line| screen.say(line));
        }
        screen.say("");
        screen.say("the books, as the services keep them and as the verdicts say");
        self.book_table().into_iter().for_each(|line| screen.say(line));
        screen.say(format!(
            "  effects lost: {}, doubled: {}, orphaned: {}",
            self.audit.lost_effects, self.audit.duplicate_effects, self.audit.orphaned_effects
        ));
        screen.say("");
        self.show_problems(screen);
        screen.say(self.conclusion());
    }

    /// The JSON object, in one line.
    pub(crate) fn json(&self, options: &Options) -> String {
        let times = verdicts::times(&self.ended);
        let [p50_ms, p99_ms] = [50, 99].map(|percent| {
            verdicts::percentile(&times, percent).map(|time| rounded(time.as_secs_f64() * 1e3, 1.0))
        });
        let count = |status| verdicts::count(&self.ended, status);
        let summary = Summary {
            orders: self.ended.len(),
            completed: count(Status::Completed),
            compensated: count(Status::Compensated),
            stuck: count(Status::Stuck),
            stopped: count(Status::Stopped),
            running: count(Status::Running),
            compensating: count(Status::Compensating),
            duplicate_effects: self.audit.duplicate_effects,
            lost_effects: self.audit.lost_effects,
            orphaned_effects: self.audit.orphaned_effects,
            kills: self.kills,
            store: options.store.word(),
            definition: options.definition.word(),
            workers: options.workers,
            books_balance: self.audit.balances(),
            p50_ms,
            p99_ms,
            elapsed_s: rounded(self.elapsed.as_secs_f64(), 3.0),
            seed: options.seed,
            faults: options.faults.word(),
            repeated_calls: self.repeated,
            ok: self.is_ok(),
            problems: self.all_problems(),
        };
        serde_json::to_string(&summary).expect("a summary has only string keys and finite numbers")
    }

    /// Who ran the sagas on what, how often a daemon was killed, and why not more often.
    fn workers(&self, options: &Options) -> String {
        let workers = text::count(options.workers as usize, "daemon");
        let wanted = options.kills as usize;
        let killed = match self.kills {
            kills if kills < wanted => {
                let wanted = text::count(wanted, "kill");
                format!("{kills} of {wanted}: then no saga was alive any more")
            }
            0 => "none killed".to_owned(),
            kills => format!("{} by SIGKILL, each replaced", text::count(kills, "kill")),
        };
        format!("{workers} on {}, {killed}", options.store.title())
    }

    fn verdict_table(&self) -> Vec<String> {
        let heading = ["verdict", "orders", "p50", "p99"].map(str::to_owned).to_vec();
        let groups = verdicts::groups(&self.ended).into_iter().map(|group| {
            let [p50, p99] =
                [group.p50, group.p99].map(|time| time.map_or("-".to_owned(), text::span));
            vec![group.status.word().to_owned(), group.count.to_string(), p50, p99]
        });
        text::table(&std::iter::once(heading).chain(groups).collect::<Vec<_>>())
    }

    fn book_table(&self) -> Vec<String> {
        let heading = ["service", "opening", "balance", "held", "by verdicts", "unit", ""];
        let pages = self.audit.pages.iter().map(|page| {
            let figures = [page.opening, page.balance, page.held, page.expected];
            let mut row = vec![page.service.clone()];
            row.extend(figures.map(|figure| figure.to_string()));
            row.push(page.unit.clone());
            row.push(if page.balances { "balances" } else { "DOES NOT BALANCE" }.to_owned());
            row
        });
        let heading = heading.map(str::to_owned).to_vec();
        text::table(&std::iter::once(heading).chain(pages).collect::<Vec<_>>())
    }

    /// What is wrong beside the books and with them, and every saga that is alive.
    fn all_problems(&self) -> Vec<String> {
        let alive = self.ended.iter().filter(|one| one.is_alive()).map(Ended::waiting);
        self.problems.iter().chain(&self.audit.findings).cloned().chain(alive).collect()
    }

    /// Every problem; cut where nobody reads on.
    fn show_problems(&self, screen: &mut Screen) {
        const SHOWN_MAX: usize = 20;
        let all = self.all_problems();
        all.iter().take(SHOWN_MAX).for_each(|problem| screen.say(format!("  ! {problem}")));
        if all.len() > SHOWN_MAX {
            screen.say(format!("  ! and {} more", all.len() - SHOWN_MAX));
        }
    }

    fn conclusion(&self) -> String {
        let orders = text::count(self.ended.len(), "order");
        let took = text::span(self.elapsed);
        match self.is_ok() {
            true => {
                format!("All is well: {orders}, each with its verdict, in {took}; books balance.")
            }
            false => format!(
                "NOT WELL: {orders} in {took}; see the lines marked with `!`, and the databases and \
                 logs, which are kept."
            ),
        }
    }
}

/// Rounds to the given number of decimals.
fn rounded(number: f64, decimals: f64) -> f64 {
    let scale = 10_f64.powf(decimals);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::options::{Definition, Faults, Store};
    use super::super::verdicts::tests::ended;
    use super::*;

    fn report(ended: Vec<Ended>) -> Report {
        Report {
            ended,
            audit: Audit::default(),
            repeated: 2,
            kills: 1,
            elapsed: Duration::from_millis(2_345),
            journey: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn options() -> Options {
        Options {
            orders: 3,
            seed: 9,
            kills: 1,
            faults: Faults::Wild,
            store: Store::Postgres,
            postgres_url: None,
            definition: Definition::Rust,
            port: None,
            workers: 4,
            keep: false,
            json: true,
            patience: 1,
        }
    }

    fn json(report: &Report) -> Value {
        let line = report.json(&options());
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn the_json_object_holds_every_promised_field() {
        let json = json(&report(vec![
            ended(0, Status::Completed, 10),
            ended(1, Status::Completed, 20),
            ended(2, Status::Compensated, 30),
        ]));
        for (field, value) in [
            ("orders", 3.into()),
            ("completed", 2.into()),
            ("compensated", 1.into()),
            ("stuck", 0.into()),
            ("stopped", 0.into()),
            ("duplicate_effects", 0.into()),
            ("lost_effects", 0.into()),
            ("orphaned_effects", 0.into()),
            ("kills", 1.into()),
            ("store", Value::from("postgres")),
            ("definition", Value::from("rust")),
            ("workers", 4.into()),
            ("books_balance", true.into()),
            ("p50_ms", 20.0.into()),
            ("p99_ms", 30.0.into()),
            ("elapsed_s", 2.345.into()),
            ("seed", 9.into()),
            ("faults", Value::from("wild")),
            ("ok", Value::from(true)),
        ] {
            assert_eq!(json[field], value, "{field}");
        }
    }

    #[test]
    fn a_saga_that_is_alive_is_not_well() {
        let report = report(vec![ended(0, Status::Stuck, -1)]);
        assert!(!report.is_ok());
        assert_eq!(json(&report)["ok"], false);
        assert_eq!(json(&report)["p50_ms"], Value::Null);
    }

    #[test]
    fn kills_that_found_no_living_saga_are_admitted() {
        let mut options = options();
        let report = report(Vec::new());
        let all = "4 daemons on PostgreSQL, 1 kill by SIGKILL, each replaced";
        assert_eq!(report.workers(&options), all);
        options.kills = 5;
        assert!(report.workers(&options).contains("1 of 5 kills: then no saga was alive"));
    }

    #[test]
    fn a_problem_beside_the_books_is_not_well() {
        let mut report = report(vec![ended(0, Status::Completed, 1)]);
        assert!(report.is_ok());
        report.problems.push("an order was refused".to_owned());
        assert!(!report.is_ok());
        assert!(report.conclusion().starts_with("NOT WELL"));
    }
}
