//! What was done and what was found, counted by all tasks of the soak.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Most findings whose words are kept; all of them are counted.
const WORDS_MAX: usize = 40;

/// Counters and findings.
// A std mutex: it is held for a few instructions only, never across an await.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counted>);

/// What a tally holds.
#[derive(Debug, Default, Clone)]
pub(super) struct Counted {
    /// How often each fault was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// How many drains were watched to their end, and left nothing behind.
    pub drained: u64,
    /// How many violations of each invariant were found.
    pub violations: BTreeMap<&'static str, u64>,
    /// The first of them in words.
    pub findings: Vec<String>,
}

impl Tally {
    /// A fault was done.
    pub(super) fn did(&self, fault: &'static str) {
        *self.lock().faults.entry(fault).or_default() += 1;
    }

    /// A drain left nothing behind.
    pub(super) fn drained(&self) {
        self.lock().drained += 1;
    }

    /// How often a fault was done.
    pub(super) fn done(&self, fault: &'static str) -> u64 {
        self.lock().faults.get(fault).copied().unwrap_or_default()
    }

    /// An invariant, by its number in the contract, was violated.
    pub(super) fn violated(&self, invariant: &'static str, what: impl AsRef<str>) {
        let mut counted = self.lock();
        *counted.violations.entry(invariant).or_default() += 1;
        if counted.findings.len() < WORDS_MAX {
            counted.findings.push(format!("{invariant}: {}", what.as_ref()));
        }
    }

    /// All of it.
    pub(super) fn counted(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
