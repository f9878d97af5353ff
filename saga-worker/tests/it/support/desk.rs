//! Participants in the test's own process: real effects behind a barrier, and scripts of misbehaviour.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use saga_core::{BoxFuture, Call, Failure, IdempotencyKey, Op, Payload, SagaId, Step, StepContext};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::world::within_an_hour;

/// What a participant does with one call.
#[derive(Clone, Debug)]
pub(crate) enum Behave {
    /// Does it, through the barrier.
    Answer,
    /// Does it and answers with this output.
    Give(Value),
    /// Refuses, which says nothing about earlier attempts.
    Reject,
    /// Refuses through the barrier: recorded for every attempt.
    RejectForGood,
    /// Fails before doing it.
    Fail,
    /// Does it and fails.
    FailAfter,
    /// Does it and never answers.
    Hang,
    /// Does it and takes this long to answer.
    Slow(Duration),
    /// Asks to be called again later.
    NotYet(Duration),
    /// Panics before the future exists.
    Panic,
    /// Panics at the first poll.
    PanicLater,
    /// Waits for its token, then does it and answers.
    FinishWhenTold,
    /// Waits for its token, takes a moment to clean up, then fails.
    CleanUpWhenTold,
    /// Waits for [`Desk::open`], then does it.
    Gate,
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) step: String,
    pub(crate) op: Op,
    pub(crate) attempt: u32,
    pub(crate) key: IdempotencyKey,
}

/// Real effects of one step of one saga.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

type Script = Arc<dyn Fn(u32) -> Behave + Send + Sync>;

#[derive(Default)]
struct State {
    guards: BTreeMap<(SagaId, String), Guard>,
    scripts: HashMap<(String, Op), Script>,
    arrivals: Vec<Arrival>,
    counts: HashMap<(String, Op), usize>,
    cleaned_up: u32,
    /// Calls under way, and how often one came while another of the same step was.
    busy: BTreeMap<(SagaId, String), u32>,
    overlaps: u32,
}

/// All participants of a test.
pub(crate) struct Desk {
    state: Mutex<State>,
    arrived: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Desk {
    pub(crate) fn new() -> Arc<Self> {
        let (arrived, open) = (watch::Sender::new(0), watch::Sender::new(false));
        Arc::new(Self { state: Mutex::default(), arrived, open })
    }

    /// A compensatable step served here.
    pub(crate) fn compensatable(self: &Arc<Self>, name: &str) -> Step {
        Step::compensatable_calls::<Value>(name, DeskCall(self.clone()), DeskCall(self.clone()))
    }

    /// A pivot served here.
    pub(crate) fn pivot(self: &Arc<Self>, name: &str) -> Step {
        Step::pivot_call::<Value>(name, DeskCall(self.clone()))
    }

    /// A retriable step served here.
    pub(crate) fn retriable(self: &Arc<Self>, name: &str) -> Step {
        Step::retriable_call::<Value>(name, DeskCall(self.clone()))
    }

    /// Every attempt at this call goes like this.
    pub(crate) fn always(&self, step: &str, op: Op, behave: Behave) {
        self.script(step, op, move |_| behave.clone());
    }

    /// The first attempt of each saga goes like this, all later ones are answered.
    pub(crate) fn first(&self, step: &str, op: Op, behave: Behave) {
        self.script(step, op, move |attempt| match attempt {
            1 => behave.clone(),
            _ => Behave::Answer,
        });
    }

    pub(crate) fn script(
        &self,
        step: &str,
        op: Op,
        script: impl Fn(u32) -> Behave + Send + Sync + 'static,
    ) {
        self.state().scripts.insert((step.to_owned(), op), Arc::new(script));
    }

    /// Lets every [`Behave::Gate`] pass, now and later.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// All calls that have arrived, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.state().arrivals.clone()
    }

    /// The calls of this kind that have arrived.
    pub(crate) fn arrivals_of(&self, step: &str, op: Op) -> Vec<Arrival> {
        let mut arrivals = self.arrivals();
        arrivals.retain(|arrival| arrival.step == step && arrival.op == op);
        arrivals
    }

    /// Steps and directions of all calls, in order of arrival, such as `reserve action`.
    pub(crate) fn journey(&self) -> Vec<String> {
        let arrivals = self.arrivals();
        arrivals.iter().map(|arrival| format!("{} {}", arrival.step, arrival.op)).collect()
    }

    /// Resolves when `count` calls of this kind have arrived.
    pub(crate) async fn arrived(&self, step: &str, op: Op, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let call = (step.to_owned(), op);
        let enough = |_: &usize| self.state().counts.get(&call).is_some_and(|n| *n >= count);
        let wait = within_an_hour(arrived.wait_for(enough));
        wait.await.expect("the sender lives in this desk");
    }

    /// What has really happened.
    pub(crate) fn effects(&self, saga: SagaId, step: &str) -> Effects {
        let state = self.state();
        let guard = state.guards.get(&(saga, step.to_owned()));
        guard.map(|guard| guard.effects).unwrap_or_default()
    }

    /// How many calls came to a clean end after their token had fired.
    pub(crate) fn cleaned_up(&self) -> u32 {
        self.state().cleaned_up
    }

    /// How often a call came while another call for the same step of the same saga was under way.
    pub(crate) fn overlaps(&self) -> u32 {
        self.state().overlaps
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn arrive(&self, context: &StepContext) -> Behave {
        let mut state = self.state();
        let (step, op) = (context.step.to_string(), context.op);
        state.arrivals.push(Arrival {
            step: step.clone(),
            op,
            attempt: context.attempt,
            key: context.idempotency_key(),
        });
        let script = state.scripts.get(&(step.clone(), op)).cloned();
        *state.counts.entry((step, op)).or_default() += 1;
        drop(state);
        self.arrived.send_modify(|count| *count += 1);
        script.map_or(Behave::Answer, |script| script(context.attempt))
    }

    /// The business behind its barrier.
    fn serve(
        &self,
        context: &StepContext,
        answer: Result<Payload, String>,
    ) -> Result<Payload, Failure> {
        let mut state = self.state();
        let guard = state.guards.entry((context.saga_id, context.step.to_string())).or_default();
        match context.op {
            Op::Action => {
                if guard.answered.is_none() && guard.compensated {
                    return Err(Failure::rejected_for_good("dangling action"));
                }
                let fresh = guard.answered.is_none();
                let recorded = guard.answered.get_or_insert(answer).clone();
                guard.effects.done += u32::from(fresh && recorded.is_ok());
                recorded.map_err(Failure::rejected_for_good)
            }
            Op::Compensation => {
                let done = matches!(guard.answered, Some(Ok(_)));
                guard.effects.undone += u32::from(done && !guard.compensated);
                guard.compensated = true;
                Ok(Payload::null())
            }
        }
    }
}

struct DeskCall(Arc<Desk>);

/// A call under way, until it has ended or was dropped.
struct UnderWay(Arc<Desk>, (SagaId, String));

impl UnderWay {
    fn new(desk: &Arc<Desk>, context: &StepContext) -> Self {
        let step = (context.saga_id, context.step.to_string());
        let mut state = desk.state();
        let State { busy, overlaps, .. } = &mut *state;
        let calls = busy.entry(step.clone()).or_default();
        *overlaps += u32::from(*calls > 0);
        *calls += 1;
        Self(desk.clone(), step)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.state().busy.entry(self.1.clone()).or_default() -= 1;
    }
}

impl Call for DeskCall {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let desk = self.0.clone();
        let behave = desk.arrive(&context);
        if matches!(behave, Behave::Panic) {
            panic!("a participant lost its head");
        }
        let under_way = UnderWay::new(&desk, &context);
        Box::pin(async move {
            let _under_way = under_way;
            let done = || desk.serve(&context, Ok(Payload::null()));
            match behave {
                Behave::Answer => done(),
                Behave::Give(output) => desk.serve(&context, Ok(Payload::encode(&output)?)),
                Behave::Reject => Err(Failure::rejected("no")),
                Behave::RejectForGood => desk.serve(&context, Err("no".to_owned())),
                Behave::Fail => Err(Failure::transient("out of order")),
                Behave::FailAfter => done().and(Err(Failure::transient("out of order"))),
                Behave::Hang => done().and(std::future::pending().await),
                Behave::Slow(time) => {
                    let answer = done();
                    sleep(time).await;
                    answer
                }
                Behave::NotYet(delay) => Err(Failure::not_yet(delay, "busy")),
                Behave::Panic | Behave::PanicLater => panic!("a participant lost its head"),
                Behave::FinishWhenTold => {
                    context.cancellation.cancelled().await;
                    done()
                }
                Behave::CleanUpWhenTold => {
                    context.cancellation.cancelled().await;
                    sleep(Duration::from_millis(10)).await;
                    desk.state().cleaned_up += 1;
                    Err(Failure::transient("told to stop"))
                }
                Behave::Gate => {
                    let mut open = desk.open.subscribe();
                    open.wait_for(|open| *open).await.expect("the sender lives in the desk");
                    done()
                }
            }
        })
    }
}
