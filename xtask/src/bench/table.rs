//! The table of a comparison.

/// What one program came to.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) engine: &'static str,
    pub(super) store: &'static str,
    pub(super) fail_last: bool,
    pub(super) concurrency: u32,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Measured(Figures),
    /// Why there is nothing to show.
    None(String),
}

/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    pub(super) sagas_per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Of the engine, its database and its server together, for 1,000 sagas.
    pub(super) cpu_s: Option<f64>,
    /// Of the sagas per second of several runs: the greatest less the smallest, as a share of the median.
    pub(super) spread: Option<f64>,
}

impl Figures {
    /// Each figure as the median of these runs.
    pub(super) fn median(runs: &[Self]) -> Option<Self> {
        let of = |of: fn(&Self) -> f64| middle(runs.iter().map(of).collect());
        let sagas_per_s = of(|run| run.sagas_per_s)?;
        let least = runs.iter().map(|run| run.sagas_per_s).fold(f64::INFINITY, f64::min);
        let most = runs.iter().map(|run| run.sagas_per_s).fold(0.0, f64::max);
        let cpu_s: Option<Vec<f64>> = runs.iter().map(|run| run.cpu_s).collect();
        Some(Self {
            sagas_per_s,
            p50_ms: of(|run| run.p50_ms)?,
            p99_ms: of(|run| run.p99_ms)?,
            cpu_s: cpu_s.and_then(middle),
            spread: (runs.len() > 1).then(|| (most - least) / sagas_per_s),
        })
    }
}

/// Of an even number, the mean of the two in the middle.
fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(values[values.len() / 2 - 1], upper)
    })
}

impl Row {
    fn figures(&self) -> Option<Figures> {
        match self.outcome {
            Outcome::Measured(figures) => Some(figures),
            Outcome::None(_) => None,
        }
    }

    /// How many times as many sagas ours did, for a row that is not ours.
    fn ratio(&self, ours: &str, rows: &[Row]) -> String {
        let is_peer = ![OURS, DAEMON].contains(&self.engine);
        let ours = rows.iter().find(|row| row.engine == ours && self.is_of(row));
        let figures = self.figures().zip(ours.and_then(Row::figures)).filter(|_| is_peer);
        let ratio = figures.map(|(peer, ours)| ours.sagas_per_s / peer.sagas_per_s);
        ratio.map_or(String::new(), |ratio| format!("x{ratio:.1}"))
    }

    /// What it is compared with: ours on its store, or on PostgreSQL where it brings its own.
    fn is_of(&self, other: &Row) -> bool {
        let store = |row: &Row| if row.store == "its own" { "postgres" } else { row.store };
        store(self) == store(other)
            && (self.concurrency, self.fail_last) == (other.concurrency, other.fail_last)
    }
}

/// The names of our own rows: embedded, and as a daemon over HTTP.
pub(super) const OURS: &str = "saga";
pub(super) const DAEMON: &str = "saga-worker";

/// The rows as a table, each with how many times as many sagas both of ours did beside it.
pub(super) fn show(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<11} {:<9} {:<8} {:>4} {:>9} {:>7} {:>9} {:>9} {:>10} {:>7} {:>11}\n",
        "engine",
        "store",
        "variant",
        "c",
        "sagas/s",
        "spread",
        "p50 ms",
        "p99 ms",
        "CPU s/1000",
        OURS,
        DAEMON
    );
    for row in rows {
        let variant = if row.fail_last { "fail" } else { "ok" };
        let head =
            format!("{:<11} {:<9} {variant:<8} {:>4}", row.engine, row.store, row.concurrency);
        let line = match &row.outcome {
            Outcome::None(why) => format!("{head} {why}"),
            Outcome::Measured(figures) => {
                let cpu = figures.cpu_s.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
                let spread =
                    figures.spread.map_or(String::new(), |of| format!("{:.0}%", of * 100.0));
                let [embedded, daemon] = [OURS, DAEMON].map(|ours| row.ratio(ours, rows));
                format!(
                    "{head} {:>9.0} {spread:>7} {:>9.2} {:>9.2} {cpu:>10} {embedded:>7} {daemon:>11}",
                    figures.sagas_per_s, figures.p50_ms, figures.p99_ms
                )
            }
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &'static str, store: &'static str, sagas_per_s: f64) -> Row {
        let figures =
            Figures { sagas_per_s, p50_ms: 1.0, p99_ms: 2.0, cpu_s: Some(0.5), spread: None };
        let outcome = Outcome::Measured(figures);
        Row { engine, store, fail_last: false, concurrency: 64, outcome }
    }

    #[test]
    fn of_several_runs_the_median_counts_and_the_spread_is_shown() {
        let run = |sagas_per_s| Figures {
            sagas_per_s,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_s: None,
            spread: None,
        };
        let median = Figures::median(&[run(90.0), run(110.0), run(100.0)]).unwrap();
        assert!((median.sagas_per_s - 100.0).abs() < 1e-9);
        assert!((median.spread.unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(median.cpu_s, None);
        assert_eq!(Figures::median(&[run(90.0)]).unwrap().spread, None);
        assert!(Figures::median(&[]).is_none());
        assert_eq!(middle(vec![1.0, 3.0]), Some(2.0));
    }

    #[test]
    fn a_peer_is_compared_with_ours_on_its_store() {
        let mut rows = vec![
            row(OURS, "postgres", 8_000.0),
            row(OURS, "sqlite", 16_000.0),
            row(DAEMON, "postgres", 2_400.0),
            row("restate", "its own", 1_600.0),
            row("duroxide", "sqlite", 100.0),
        ];
        rows.push(Row {
            outcome: Outcome::None("npm is not there".to_owned()),
            ..row("dbos", "postgres", 0.0)
        });
        let text = show(&rows);
        let line = |engine: &str| text.lines().find(|line| line.starts_with(engine)).unwrap();
        assert!(line("restate").ends_with("x5.0        x1.5"), "{text}");
        assert!(line("duroxide").ends_with("x160.0"), "the daemon was not run on SQLite: {text}");
        assert!(line("dbos").ends_with("npm is not there"), "{text}");
        for ours in ["saga ", DAEMON] {
            assert!(!line(ours).contains('x'), "{text}");
        }
    }
}
