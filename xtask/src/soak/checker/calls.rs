//! The journal of calls: each has its own durable intent, and stopped workers come to their senses.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use saga_core::{DefinitionSpec, Event, SagaId, Transition};

use crate::soak::tally::Tally;
use crate::soak::witness::{Seen, Woken};

/// One call that a worker was about to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    at: i64,
    pid: u32,
    step: String,
    op: String,
    attempt: u32,
    epoch: u64,
}

/// All calls, by saga.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<SagaId, Vec<Call>>);

impl Calls {
    /// Reads the journal.
    ///
    /// # Errors
    /// When the file cannot be read, or holds a line that is none.
    pub(super) fn read(journal: &Path) -> anyhow::Result<Self> {
        let journal = std::fs::read_to_string(journal)?;
        let mut calls = Self::default();
        for line in journal.lines() {
            let (saga, call) = parse(line)
                .ok_or_else(|| anyhow::anyhow!("the journal of calls has a line `{line}`"))?;
            calls.0.entry(saga).or_default().push(call);
        }
        Ok(calls)
    }

    /// How many there were.
    pub(super) fn number(&self) -> u64 {
        self.0.values().map(|calls| calls.len() as u64).sum()
    }

    /// S7: each call has an intent in the log, of its attempt and its worker's epoch, and no other
    /// call has the same.
    pub(super) fn check_intents(
        &self,
        tally: &Tally,
        id: SagaId,
        log: &[Transition],
        spec: &DefinitionSpec,
    ) {
        let mut intents = HashSet::new();
        for transition in log {
            for event in &transition.events {
                let (step, op, attempt) = match event {
                    Event::StepReceived { step, attempt } => (step, "action", attempt),
                    Event::CompensationReceived { step, attempt } => {
                        (step, "compensation", attempt)
                    }
                    _ => continue,
                };
                intents.insert((spec.name_of(*step), op, *attempt, transition.epoch));
            }
        }
        for call in self.0.get(&id).into_iter().flatten() {
            let Call { step, op, attempt, epoch, .. } = call;
            if !intents.remove(&(step.as_str(), op.as_str(), *attempt, *epoch)) {
                let what = format!(
                    "saga {id}: attempt {attempt} of the {op} of {step} was made at epoch {epoch} \
                     without an intent of its own in the log"
                );
                tally.violated("S7", what);
            }
        }
    }

    /// S12: a saga is driven by workers that know its version.
    pub(super) fn check_versions(&self, tally: &Tally, id: SagaId, version: u32, seen: &Seen) {
        for call in self.0.get(&id).into_iter().flatten() {
            let newest = seen.newest_known(call.pid, call.at);
            if let Some(newest) = newest.filter(|newest| *newest < version) {
                let what = format!(
                    "saga {id}: it is of version {version}, and {} was called by a worker that knows                      versions up to {newest}",
                    call.step
                );
                tally.violated("S12", what);
            }
        }
    }

    /// S7: no call was made for a saga that is in no log.
    pub(super) fn check_strangers(&self, tally: &Tally, is_known: impl Fn(SagaId) -> bool) {
        for id in self.0.keys().filter(|id| !is_known(**id)) {
            tally.violated("S7", format!("calls were made for saga {id}, which has no log"));
        }
    }

    /// S3: a worker that was stopped for longer than its lease makes, for a saga that others had when
    /// it went on, one call at most: the one that it was about to make when it was stopped, which the
    /// barrier has to deal with. Returns how many such calls there were.
    pub(super) fn check_woken(&self, tally: &Tally, woken: &[Woken]) -> u64 {
        let mut stale = 0;
        for Woken { pid, at, epochs } in woken {
            for (id, granted) in epochs {
                let calls = self.0.get(id).into_iter().flatten();
                let calls = calls
                    .filter(|call| call.pid == *pid && call.at >= *at && call.epoch < *granted);
                let made: Vec<_> =
                    calls.map(|call| format!("{} of {}", call.op, call.step)).collect();
                stale += made.len() as u64;
                if made.len() > 1 {
                    let what = format!(
                        "saga {id}: a worker that was stopped made {} calls after it had lost the \
                         saga: {made:?}",
                        made.len()
                    );
                    tally.violated("S3", what);
                }
            }
        }
        stale
    }
}

/// `micros pid saga step op attempt epoch`.
fn parse(line: &str) -> Option<(SagaId, Call)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [at, pid, saga, step, op, attempt, epoch] = words[..] else { return None };
    let call = Call {
        at: at.parse().ok()?,
        pid: pid.parse().ok()?,
        step: step.to_owned(),
        op: op.to_owned(),
        attempt: attempt.parse().ok()?,
        epoch: epoch.parse().ok()?,
    };
    Some((saga.parse().ok()?, call))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use saga_core::{Definition, Failure, Step, Timestamp};

    use super::*;
    use crate::soak::witness::Knows;

    const ID: &str = "0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6";

    fn calls(lines: &[&str]) -> Calls {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("calls.log");
        let mut text = String::new();
        lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
        std::fs::write(&journal, text).unwrap();
        Calls::read(&journal).unwrap()
    }

    fn found(tally: &Tally) -> Vec<String> {
        tally.counted().findings
    }

    /// What is found when calls are held against a log with one intent: attempt 1, at epoch 4.
    fn intents(lines: &[&str]) -> Vec<String> {
        let reserve = async || Ok::<(), Failure>(());
        let definition = Definition::new("buy", [Step::pivot("reserve", reserve)]).unwrap();
        let step = definition.spec().find("reserve").unwrap();
        let received = Event::StepReceived { step, attempt: 1 };
        let log =
            [Transition { seq: 2, epoch: 4, at: Timestamp::default(), events: vec![received] }];
        let tally = Tally::default();
        calls(lines).check_intents(&tally, ID.parse().unwrap(), &log, definition.spec());
        found(&tally)
    }

    #[test]
    fn a_call_needs_an_intent_of_its_own_attempt_and_epoch() {
        let call = format!("7 12 {ID} reserve action 1 4");
        assert_eq!(intents(&[&call]), Vec::<String>::new());
        for other in ["reserve action 2 4", "reserve action 1 3", "reserve compensation 1 4"] {
            let found = intents(&[&format!("7 12 {ID} {other}")]);
            assert!(matches!(&found[..], [one] if one.starts_with("S7")), "{other}: {found:?}");
        }
        assert_eq!(intents(&[&call, &call]).len(), 1, "one intent is not enough for two calls");
    }

    #[test]
    fn a_call_for_a_saga_without_a_log_is_found() {
        let tally = Tally::default();
        let calls = calls(&[&format!("7 12 {ID} reserve action 1 4")]);
        calls.check_strangers(&tally, |id| id == ID.parse().unwrap());
        assert_eq!(found(&tally), Vec::<String>::new());
        calls.check_strangers(&tally, |_| false);
        assert_eq!(found(&tally).len(), 1);
    }

    #[test]
    fn a_stopped_worker_may_finish_one_call_and_no_second_one() {
        let stale = |lines: &[&str]| {
            let epochs = HashMap::from([(ID.parse().unwrap(), 5)]);
            let (tally, woken) = (Tally::default(), [Woken { pid: 12, at: 100, epochs }]);
            (calls(lines).check_woken(&tally, &woken), found(&tally).len())
        };
        let call =
            |at: i64, pid: u32, epoch: u64| format!("{at} {pid} {ID} reserve action 1 {epoch}");
        assert_eq!(stale(&[&call(99, 12, 4), &call(101, 13, 4), &call(101, 12, 5)]), (0, 0));
        assert_eq!(stale(&[&call(101, 12, 4)]), (1, 0));
        assert_eq!(stale(&[&call(101, 12, 4), &call(102, 12, 4)]), (2, 1));
        let other = format!("102 12 {ID} reserve compensation 1 4");
        assert_eq!(stale(&[&call(101, 12, 4), &other]), (2, 1), "whichever call it is");
    }

    #[test]
    fn a_call_by_a_worker_that_does_not_know_the_version_is_found() {
        let (old, both) = (Knows { since: 10, newest: 1 }, Knows { since: 50, newest: 2 });
        // The number of the first process is given to a later one.
        let workers = HashMap::from([(12, vec![old, both]), (13, vec![both])]);
        let seen = Seen { workers, ..Seen::default() };
        let calls = |at: i64, pid: u32, version| {
            let tally = Tally::default();
            let calls = calls(&[&format!("{at} {pid} {ID} reserve action 1 4")]);
            calls.check_versions(&tally, ID.parse().unwrap(), version, &seen);
            tally.counted().violations.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(calls(20, 12, 2), ["S12"]);
        for (at, pid, version) in [(20, 12, 1), (60, 12, 2), (60, 13, 2), (60, 14, 2)] {
            assert_eq!(calls(at, pid, version), Vec::<&str>::new(), "{pid} at {at}");
        }
    }

    #[test]
    fn a_journal_with_another_line_is_refused() {
        assert_eq!(parse("7 12 saga reserve action 1"), None);
        assert_eq!(parse(&format!("7 12 {ID} reserve action one 4")), None);
    }
}
