//! The plants as a check: a soak of processes with a bug in them has to fail, and to name the
//! invariant that the bug violates. A checker that sees nothing does not pass.

use serde_json::Value;

use super::Outcome;
use super::child::{End, Runner};
use crate::workspace;

/// How many workers are killed under each bug.
const KILLS: &str = "30";
/// For how long sagas are waited for, in seconds: under most bugs some never end.
const PATIENCE: &str = "8";
/// How many seeds a bug is given to show itself.
const SEEDS: u64 = 3;

/// Each bug, and how a finding of it may begin.
const PLANTS: [(&str, &[&str]); 8] = [
    ("no-fence", &["S3"]),
    ("no-tombstone", &["S4"]),
    ("no-idempotency-key", &["S6"]),
    ("commit-lies", &["S7", "S13"]),
    ("wrong-answer", &["S14"]),
    ("start-apart", &["together"]),
    ("forgets-early", &["S13"]),
    ("keeps-lease", &["L4"]),
];

/// Plants each bug on a store, one after the other.
pub(super) async fn found(runner: &mut Runner, store: &str) -> anyhow::Result<Outcome> {
    if store == "postgres"
        && let Err(error) = throwaway_postgres::installed()
    {
        return Ok(Outcome::Skipped(format!("there is no server to crash: {error}")));
    }
    for (plant, invariants) in PLANTS {
        let mut missed = String::new();
        for seed in 1..=SEEDS {
            match soak(runner, store, plant, seed, invariants).await? {
                None => {
                    missed.clear();
                    break;
                }
                Some(why) => missed = why,
            }
        }
        if !missed.is_empty() {
            return Ok(Outcome::Failed(format!("--plant {plant}, {SEEDS} seeds: {missed}")));
        }
    }
    Ok(Outcome::Passed)
}

/// One soak with a bug; tells why the bug was not found, if it was not.
async fn soak(
    runner: &mut Runner,
    store: &str,
    plant: &str,
    seed: u64,
    invariants: &[&str],
) -> anyhow::Result<Option<String>> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "soak", "--json", "--hits", "0"]);
    command.args(["--store", store, "--plant", plant, "--kills", KILLS, "--patience", PATIENCE]);
    command.args(["--seed", &seed.to_string()]);
    let mut last = String::new();
    let end = runner.run(command, |line| line.clone_into(&mut last)).await?;
    Ok(missed(&end, &last, invariants))
}

/// Why a bug that violates one of the invariants was not found by a soak that ended so.
fn missed(end: &End, line: &str, invariants: &[&str]) -> Option<String> {
    match end {
        End::Failed => {}
        End::Succeeded => return Some("the soak should fail and exited 0".to_owned()),
        End::TookTooLong(_) => return Some("the soak did not end".to_owned()),
    }
    let summary: Value = serde_json::from_str(line).unwrap_or_default();
    let violated = &summary["violations_by_invariant"];
    let is_named = invariants.iter().any(|named| violated[named].as_u64().unwrap_or_default() > 0);
    let expected = invariants.join(" or ");
    (!is_named).then(|| format!("{expected} should be violated, but what was is {violated}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_bug_is_found_when_the_soak_fails_and_names_its_invariant() {
        let line = json!({"violations_by_invariant": {"S1": 0, "S2": 3, "S13": 1}}).to_string();
        assert_eq!(missed(&End::Failed, &line, &["S7", "S13"]), None);
        for (end, line, why) in [
            (End::Succeeded, line.as_str(), "exited 0"),
            (End::TookTooLong(Duration::from_secs(1)), line.as_str(), "did not end"),
            (End::Failed, "no server", "S1 should be"),
            (End::Failed, line.as_str(), "S1 should be"),
        ] {
            let missed = missed(&end, line, &["S1"]).expect("not found");
            assert!(missed.contains(why), "{missed}");
        }
    }
}
