//! Participants that keep their effects in memory: correct under repeats and late calls like those
//! with a barrier, and with nothing durable, so that a run measures the engine and not them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use saga_core::Op;

/// Locks, so that calls at once seldom meet at the same one.
const SHARDS: usize = 64;

/// What is known of one step of one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Made,
    Rejected,
    /// Compensated, whether or not it had been made before.
    Compensated,
}

/// Whether an action had or has its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Processed,
    Rejected,
}

/// The effects of all participants.
#[derive(Debug)]
// Std mutexes: held for one look-up, never across an await.
pub(crate) struct Ledger(Vec<Mutex<HashMap<(u64, &'static str), Effect>>>);

impl Default for Ledger {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Ledger {
    /// Carries a call out, once, however often it comes; an action after its compensation never.
    pub(crate) fn call(&self, order: u64, step: &'static str, op: Op) -> Answer {
        self.with(order, |effects| match op {
            Op::Action => match effects.entry((order, step)).or_insert(Effect::Made) {
                Effect::Made => Answer::Processed,
                Effect::Rejected | Effect::Compensated => Answer::Rejected,
            },
            Op::Compensation => {
                effects.insert((order, step), Effect::Compensated);
                Answer::Processed
            }
        })
    }

    /// Rejects an action for good, unless it has been made already.
    pub(crate) fn reject(&self, order: u64, step: &'static str) -> Answer {
        self.with(order, |effects| match effects.entry((order, step)).or_insert(Effect::Rejected) {
            Effect::Made => Answer::Processed,
            Effect::Rejected | Effect::Compensated => Answer::Rejected,
        })
    }

    /// Whether the effects of an order are there: all of a completed one, none of a compensated.
    pub(crate) fn made(&self, order: u64, steps: &[&'static str]) -> usize {
        self.with(order, |effects| {
            let made = |step: &&&'static str| {
                effects.get(&(order, **step)).is_some_and(|effect| *effect == Effect::Made)
            };
            steps.iter().filter(made).count()
        })
    }

    fn with<T>(
        &self,
        order: u64,
        work: impl FnOnce(&mut HashMap<(u64, &'static str), Effect>) -> T,
    ) -> T {
        let shard = &self.0[(order % SHARDS as u64) as usize];
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_change_nothing_and_an_action_after_its_compensation_is_refused() {
        let ledger = Ledger::default();
        assert_eq!(ledger.call(1, "a", Op::Action), Answer::Processed);
        assert_eq!(ledger.call(1, "a", Op::Action), Answer::Processed);
        assert_eq!(ledger.made(1, &["a", "b"]), 1);
        assert_eq!(ledger.call(1, "b", Op::Compensation), Answer::Processed);
        assert_eq!(ledger.call(1, "b", Op::Action), Answer::Rejected);
        assert_eq!(ledger.call(1, "a", Op::Compensation), Answer::Processed);
        assert_eq!(ledger.made(1, &["a", "b"]), 0);
    }

    #[test]
    fn a_rejection_holds_for_every_attempt_and_comes_too_late_for_what_was_made() {
        let ledger = Ledger::default();
        assert_eq!(ledger.reject(1, "a"), Answer::Rejected);
        assert_eq!(ledger.call(1, "a", Op::Action), Answer::Rejected);
        ledger.call(2, "a", Op::Action);
        assert_eq!(ledger.reject(2, "a"), Answer::Processed);
    }
}
