//! The journal of calls: each has its own durable intent, and stopped workers come to their senses.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use saga_core::{DefinitionSpec, Event, SagaId, Transition};

use crate::soak::tally::Tally;
use crate::soak::witness::Woken;

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

    /// S7: no call was made for a saga that is in no log.
    pub(super) fn check_strangers(&self, tally: &Tally, known: &HashSet<SagaId>) {
        for id in self.0.keys().filter(|id| !known.contains(id)) {
            tally.violated("S7", format!("calls were made for saga {id}, which has no log"));
        }
    }

    /// S3: a worker that was stopped for longer than its lease makes, for a saga that others had when
    /// it went on, no call more than once: the one that it was about to make when it was stopped.
    /// Returns how many such calls there were.
    pub(super) fn check_woken(&self, tally: &Tally, woken: &[Woken]) -> u64 {
        let mut stale = 0;
        for Woken { pid, at, epochs } in woken {
            for (id, granted) in epochs {
                let calls = self.0.get(id).into_iter().flatten();
                let calls = calls
                    .filter(|call| call.pid == *pid && call.at >= *at && call.epoch < *granted);
                let mut made = HashMap::new();
                for call in calls {
                    stale += 1;
                    *made.entry((&call.step, &call.op)).or_insert(0) += 1;
                }
                for ((step, op), times) in made.into_iter().filter(|(_, times)| *times > 1) {
                    let what = format!(
                        "saga {id}: a worker that was stopped called the {op} of {step} {times} \
                         times after it had lost the saga"
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
