//! One breaker per participant and direction, shared by all sagas of a worker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use saga_core::{
    Admission, Breaker, BreakerState, CallResult, Clock, Op, Permit, StepSpec, Timestamp,
};

/// The breakers of one worker.
///
/// Actions and compensations of a participant have separate breakers, so that a
/// storm of failing actions does not bar the way back.
pub(crate) struct Breakers {
    clock: Arc<dyn Clock>,
    by_participant: Mutex<BTreeMap<Guarded, Breaker>>,
}

/// What a breaker guards: a participant in one direction.
type Guarded = (String, Op);

/// The state of one breaker, for people and dashboards.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BreakerView {
    /// The participant it guards.
    pub participant: String,
    /// The direction it guards.
    pub op: Op,
    /// Its state.
    pub state: BreakerState,
    /// Until when no call passes, while it is open.
    pub open_until: Option<Timestamp>,
}

/// The right to make one call. If it is dropped without [`Pass::settle`], whatever became of its
/// saga, the call counts as never made, so that a probe's place is never lost.
pub(crate) struct Pass {
    breakers: Arc<Breakers>,
    guarded: Guarded,
    permit: Option<Permit>,
}

impl Breakers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, by_participant: Mutex::default() }
    }

    /// Asks for the right to make one call; the moment to ask again if there is none now.
    pub(crate) fn admit(self: &Arc<Self>, step: &StepSpec, op: Op) -> Result<Pass, Timestamp> {
        let (now, guarded) = (self.clock.now(), (step.participant.clone(), op));
        let mut breakers = self.by_participant.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(guarded.clone());
        match breaker.or_insert_with(|| Breaker::new(step.breaker.clone())).admit(now) {
            Admission::Go(permit) => {
                Ok(Pass { breakers: self.clone(), guarded, permit: Some(permit) })
            }
            Admission::Held { until } => Err(until),
        }
    }

    pub(crate) fn views(&self) -> Vec<BreakerView> {
        let now = self.clock.now();
        let mut breakers = self.by_participant.lock().unwrap_or_else(PoisonError::into_inner);
        let view = |((participant, op), breaker): (&Guarded, &mut Breaker)| BreakerView {
            participant: participant.clone(),
            op: *op,
            state: breaker.state(now),
            open_until: breaker.open_until(now),
        };
        breakers.iter_mut().map(view).collect()
    }

    /// The lock is held for a few additions, never across an await.
    fn settle(&self, guarded: &Guarded, permit: Permit, result: CallResult) {
        let now = self.clock.now();
        let mut breakers = self.by_participant.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(breaker) = breakers.get_mut(guarded) else { return };
        let before = breaker.state(now);
        breaker.settle(now, permit, result);
        let after = breaker.state(now);
        if before != after {
            let (participant, op) = guarded;
            tracing::warn!(participant, %op, ?before, ?after, "breaker changed");
        }
    }
}

impl std::fmt::Debug for Breakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Breakers").field(&self.views()).finish()
    }
}

impl Pass {
    /// Says how the call ended.
    pub(crate) fn settle(mut self, result: CallResult) {
        self.hand_back(result);
    }

    fn hand_back(&mut self, result: CallResult) {
        if let Some(permit) = self.permit.take() {
            self.breakers.settle(&self.guarded, permit, result);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.hand_back(CallResult::Abandoned);
    }
}
