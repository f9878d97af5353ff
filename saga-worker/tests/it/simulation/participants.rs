//! Participants behind a network that loses, delays and repeats.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::{BoxFuture, Call, Failure, Op, Payload, SagaId, StepContext};
use tokio::time::sleep;

use super::swarm::{Dice, Swarm};

/// The parts of a barrier, each of which can be left out to plant a bug.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    /// A call repeated under its key gets the recorded answer.
    pub(crate) keys: bool,
    /// A compensation bars an action that comes later.
    pub(crate) tombstones: bool,
}

/// What really happened for one step of one saga.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Effects {
    pub(crate) done: u32,
    pub(crate) undone: u32,
}

#[derive(Default)]
struct Guard {
    answered: Option<Result<Payload, String>>,
    compensated: bool,
    effects: Effects,
}

/// One call, as the worker made it.
pub(crate) type Made = (SagaId, String, Op, u32);

#[derive(Default)]
struct State {
    guards: BTreeMap<(SagaId, String), Guard>,
    made: Vec<Made>,
    counters: BTreeMap<&'static str, u64>,
    healthy: bool,
}

pub(crate) struct Participants {
    barrier: Barrier,
    swarm: Swarm,
    dice: Dice,
    state: Mutex<State>,
}

impl Participants {
    pub(crate) fn new(barrier: Barrier, swarm: Swarm, dice: Dice) -> Arc<Self> {
        Arc::new(Self { barrier, swarm, dice, state: Mutex::default() })
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().healthy = true;
    }

    /// Every call that was made.
    pub(crate) fn made(&self) -> Vec<Made> {
        self.state.lock().unwrap().made.clone()
    }

    pub(crate) fn effects(&self, saga: SagaId, step: &str) -> Effects {
        let state = self.state.lock().unwrap();
        let guard = state.guards.get(&(saga, step.to_owned()));
        guard.map(|guard| guard.effects).unwrap_or_default()
    }

    pub(crate) fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().unwrap().counters.clone()
    }

    fn count(&self, what: &'static str) {
        *self.state.lock().unwrap().counters.entry(what).or_default() += 1;
    }

    /// A request has arrived: the business behind the barrier.
    fn deliver(&self, context: &StepContext) -> Result<Payload, Failure> {
        let rejects = self.dice.hits(self.swarm.rejected);
        let mut state = self.state.lock().unwrap();
        let State { guards, counters, .. } = &mut *state;
        let mut count = |what| *counters.entry(what).or_default() += 1;
        let guard = guards.entry((context.saga_id, context.step.to_string())).or_default();
        match context.op {
            Op::Action => {
                if let Some(recorded) = guard.answered.clone().filter(|_| self.barrier.keys) {
                    count("duplicate suppressed");
                    return recorded.map_err(Failure::rejected_for_good);
                }
                if guard.compensated && self.barrier.tombstones {
                    count("dangling refused");
                    return Err(Failure::rejected_for_good("compensated before it came"));
                }
                // Retriable steps have to happen: only the steps up to the pivot may be refused.
                let rejects = rejects && !context.step.starts_with("confirm");
                let answer = if rejects { Err("no".to_owned()) } else { Ok(Payload::null()) };
                guard.effects.done += u32::from(answer.is_ok());
                guard.answered.insert(answer).clone().map_err(Failure::rejected_for_good)
            }
            Op::Compensation => {
                if guard.compensated && self.barrier.keys {
                    count("duplicate suppressed");
                    return Ok(Payload::null());
                }
                match guard.answered {
                    Some(Ok(_)) => guard.effects.undone += 1,
                    Some(Err(_)) => {}
                    None => count("null compensation"),
                }
                guard.compensated = true;
                Ok(Payload::null())
            }
        }
    }

    /// The way there and back.
    async fn travel(self: Arc<Self>, context: StepContext) -> Result<Payload, Failure> {
        sleep(self.dice.time(300)).await;
        let (swarm, dice) = (&self.swarm, &self.dice);
        if self.state.lock().unwrap().healthy {
            return self.deliver(&context);
        }
        if context.op == Op::Compensation && dice.hits(swarm.undo_refused) {
            self.count("compensation refused");
            return Err(Failure::rejected("not before the audit"));
        }
        if dice.hits(swarm.request_lost) {
            self.count("request lost");
            return self.no_answer().await;
        }
        if dice.hits(swarm.delivered_late) {
            self.count("delivered late");
            self.deliver_after(context, dice.time(40_000));
            return self.no_answer().await;
        }
        if dice.hits(swarm.duplicated) {
            self.count("duplicated");
            self.deliver_after(context.clone(), dice.time(10_000));
        }
        let answer = self.deliver(&context);
        if dice.hits(swarm.slow_answer) {
            self.count("answered slowly");
            sleep(dice.time(4_000)).await;
        }
        if dice.hits(swarm.reply_lost) {
            self.count("reply lost");
            return self.no_answer().await;
        }
        sleep(dice.time(300)).await;
        answer
    }

    fn deliver_after(self: &Arc<Self>, context: StepContext, delay: Duration) {
        let participants = self.clone();
        tokio::spawn(async move {
            sleep(delay).await;
            drop(participants.deliver(&context));
        });
    }

    /// A broken connection, or silence.
    async fn no_answer(&self) -> Result<Payload, Failure> {
        match self.dice.below(2) {
            0 => Err(Failure::transient("connection reset")),
            _ => std::future::pending().await,
        }
    }
}

/// The worker's side of every step.
pub(crate) struct Remote(pub(crate) Arc<Participants>);

impl Call for Remote {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let made = (context.saga_id, context.step.to_string(), context.op, context.attempt);
        self.0.state.lock().unwrap().made.push(made);
        Box::pin(self.0.clone().travel(context))
    }
}
