//! The table at the end of `cargo xtask test`, and its last line.

use std::time::Duration;

use super::Outcome;
use crate::text;

/// One check and how it ended.
#[derive(Debug)]
pub(super) struct Line {
    pub name: &'static str,
    pub outcome: Outcome,
    pub took: Duration,
}

/// All checks of one run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub lines: Vec<Line>,
}

impl Line {
    /// Says how the check ended, as soon as it has.
    pub(super) fn announce(&self) {
        match self.outcome {
            Outcome::Skipped(_) => {}
            _ => println!("== {}: {} in {}", self.name, self.result(), text::span(self.took)),
        }
    }

    /// Tests that passed, or the check itself.
    fn passed(&self) -> usize {
        match self.outcome {
            Outcome::Passed => 1,
            Outcome::Counted { passed, .. } => passed,
            Outcome::Failed(_) | Outcome::Skipped(_) => 0,
        }
    }

    /// Tests that failed, or the check itself.
    fn failed(&self) -> usize {
        match self.outcome {
            Outcome::Failed(_) => 1,
            Outcome::Counted { failed, .. } => failed,
            Outcome::Passed | Outcome::Skipped(_) => 0,
        }
    }

    fn result(&self) -> &'static str {
        match self.outcome {
            Outcome::Skipped(_) => "skipped",
            _ if self.failed() > 0 => "FAILED",
            _ => "passed",
        }
    }

    fn details(&self) -> String {
        match &self.outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed(why) | Outcome::Skipped(why) => why.clone(),
            Outcome::Counted { failed: 1, built: false, .. } => "the build failed".to_owned(),
            Outcome::Counted { passed, failed, .. } => {
                format!("{} passed, {failed} failed", text::count(*passed, "test"))
            }
        }
    }
}

impl Summary {
    /// How many tests and checks failed.
    pub(super) fn failed(&self) -> usize {
        self.lines.iter().map(Line::failed).sum()
    }

    /// Prints the table and, alone on the last line, the count.
    pub(super) fn show(&self) {
        println!();
        text::table(&self.rows()).iter().for_each(|line| println!("{line}"));
        println!("\n{}", self.count());
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let heading = ["check", "result", "time", "details"].map(str::to_owned).to_vec();
        let lines = self.lines.iter().map(|line| {
            let took = match line.outcome {
                Outcome::Skipped(_) => "-".to_owned(),
                _ => text::span(line.took),
            };
            vec![line.name.to_owned(), line.result().to_owned(), took, line.details()]
        });
        std::iter::once(heading).chain(lines).collect()
    }

    fn count(&self) -> String {
        let passed: usize = self.lines.iter().map(Line::passed).sum();
        format!("{passed} passed, {} failed", self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(outcomes: impl IntoIterator<Item = Outcome>) -> Summary {
        let took = Duration::from_secs(1);
        let line = |outcome| Line { name: "check", outcome, took };
        Summary { lines: outcomes.into_iter().map(line).collect() }
    }

    #[test]
    fn tests_and_checks_are_counted_together() {
        let summary = summary([
            Outcome::Passed,
            Outcome::Counted { passed: 12, failed: 2, built: true },
            Outcome::Failed("two findings".to_owned()),
            Outcome::Skipped("not installed".to_owned()),
        ]);
        assert_eq!(summary.count(), "13 passed, 3 failed");
    }

    #[test]
    fn a_skipped_check_says_why() {
        let rows = summary([Outcome::Skipped("not installed".to_owned())]).rows();
        assert_eq!(rows[1][1..], ["skipped", "-", "not installed"].map(str::to_owned));
    }
}
