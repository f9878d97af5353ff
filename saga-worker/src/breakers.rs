//! One breaker per participant and direction, shared by all sagas of a worker.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use saga_core::{Admission, Breaker, BreakerState, CallResult, Op, Permit, StepSpec, Timestamp};

/// The breakers of one worker.
///
/// Actions and compensations of a participant have separate breakers, so that a
/// storm of failing actions does not bar the way back.
#[derive(Debug, Default)]
pub(crate) struct Breakers(Mutex<BTreeMap<(String, Op), Breaker>>);

/// The state of one breaker, for people and dashboards.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BreakerView {
    /// The participant it guards.
    pub participant: String,
    /// The direction it guards.
    pub op: Op,
    /// Its state.
    pub state: BreakerState,
}

impl Breakers {
    pub(crate) fn admit(&self, step: &StepSpec, op: Op, now: Timestamp) -> Admission {
        self.with(step, op, |breaker| breaker.admit(now))
    }

    pub(crate) fn settle(
        &self,
        step: &StepSpec,
        op: Op,
        now: Timestamp,
        permit: Permit,
        result: CallResult,
    ) {
        self.with(step, op, |breaker| {
            let before = breaker.state(now);
            breaker.settle(now, permit, result);
            let after = breaker.state(now);
            if before != after {
                tracing::warn!(participant = %step.participant, %op, ?before, ?after, "breaker changed");
            }
        });
    }

    pub(crate) fn views(&self, now: Timestamp) -> Vec<BreakerView> {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let view = |((participant, op), breaker): (&(String, Op), &mut Breaker)| BreakerView {
            participant: participant.clone(),
            op: *op,
            state: breaker.state(now),
        };
        breakers.iter_mut().map(view).collect()
    }

    /// The lock is held for a few additions, never across an await.
    fn with<T>(&self, step: &StepSpec, op: Op, ask: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (step.participant.clone(), op);
        ask(breakers.entry(key).or_insert_with(|| Breaker::new(step.breaker.clone())))
    }
}
