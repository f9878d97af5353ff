//! Runs the tests, shows what the runner says, and counts what it counts.

use std::process::Command;

use super::Outcome;
use super::child::{End, Runner};
use super::server;
use crate::workspace;

/// Runs every test and doctest of the workspace.
pub(super) async fn tests(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if throwaway_postgres::available().is_err() {
        command.args(["--", "--skip", server::TESTS]);
    }
    let mut counted = Counted::default();
    let end = runner.run(command, |line| counted.note(line)).await?;
    if end != End::Succeeded {
        return Ok(counted.outcome(end));
    }
    let end = runner.run(of_the_faults(), |line| counted.note(line)).await?;
    Ok(counted.outcome(end))
}

/// The tests of what only the soak turns on.
fn of_the_faults() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--package", "saga-participant", "--package", "saga-examples", "--lib"]);
    command.args(["--features", "saga-participant/crash-points,saga-examples/crash-points"]);
    command
}

/// What the runner's closing lines add up to.
#[derive(Debug, Default)]
struct Counted {
    runs: usize,
    passed: usize,
    failed: usize,
}

impl Counted {
    fn note(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else { return };
        self.runs += 1;
        self.passed += number_before(result, "passed");
        self.failed += number_before(result, "failed");
    }

    fn outcome(&self, end: End) -> Outcome {
        let Self { passed, failed, .. } = *self;
        match end {
            End::Succeeded if passed == 0 => Outcome::Failed("no test was run".to_owned()),
            End::Succeeded => Outcome::Counted { passed, failed, built: true },
            // A failure that no line counts is a build that failed or a runner that was killed.
            End::Failed => Outcome::Counted { passed, failed: failed.max(1), built: self.runs > 0 },
            End::TookTooLong(_) => Outcome::Failed(end.fault("").unwrap_or_default()),
        }
    }
}

/// The number that stands before a word: 12 for `passed` in `ok. 12 passed; 0 failed`.
fn number_before(text: &str, word: &str) -> usize {
    let words: Vec<&str> = text.split([' ', ';']).collect();
    let at = words.iter().position(|candidate| *candidate == word);
    at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(lines: &[&str]) -> Counted {
        let mut counted = Counted::default();
        lines.iter().for_each(|line| counted.note(line));
        counted
    }

    #[test]
    fn the_closing_lines_of_all_runs_are_added_up() {
        let counted = counted(&[
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        let outcome = Outcome::Counted { passed: 15, failed: 2, built: true };
        assert_eq!(counted.outcome(End::Failed), outcome);
    }

    #[test]
    fn a_build_that_fails_is_one_failure() {
        let outcome = Outcome::Counted { passed: 0, failed: 1, built: false };
        assert_eq!(counted(&[]).outcome(End::Failed), outcome);
    }

    #[test]
    fn a_runner_that_ran_nothing_is_no_success() {
        assert!(matches!(counted(&[]).outcome(End::Succeeded), Outcome::Failed(_)));
    }
}
