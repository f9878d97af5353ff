//! Drives one saga: decide, make the intent durable, call, make the outcome durable.
//!
//! The executor knows no database and no HTTP. It holds the saga as a value,
//! and everything it does follows from [`Saga::next`]. If it dies at any point,
//! the log tells the next executor where to go on.

mod call;
mod persist;
mod start;
mod takeover;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;

use saga_core::store::{Append, CommandAnswer};
use saga_core::{
    Assume, CallResult, Command, CommandAction, Definition, Event, Failure, HandleError,
    IdempotencyKey, Next, Op, Payload, PlannedCall, Refusal, Saga, StepState, Stimulus, Timestamp,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::breakers::Pass;
use crate::lease::Tenure;
use crate::runtime::{Driven, Runtime};

pub(crate) use start::{Identity, new_saga, run_from_start, store_new};
pub(crate) use takeover::{decline, take_over};
use telling::Telling;

/// A wait shorter than this is spent in memory; for a longer one the saga is let go of.
const HOT_WAIT_MAX: std::time::Duration = std::time::Duration::from_millis(200);

/// One saga in the hands of one worker.
pub(crate) struct Executor {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    definition: Definition,
    saga: Saga,
    epoch: u64,
    /// The moment of the present turn: everything decided in it, and the row that records it, have
    /// this one time, so that a replay comes to the very same saga.
    at: Timestamp,
    driven: Driven,
    calls: JoinSet<Answered>,
    /// The cancellation of each call in flight.
    flying: BTreeMap<PlannedCall, CancellationToken>,
    /// Answers to commands, given once what they rest on is durable.
    replies: Vec<(IdempotencyKey, CommandAnswer)>,
    /// The append under way: whether it was done is not known.
    unconfirmed: Option<Append>,
    telling: Telling,
}

/// A call that has come back.
struct Answered {
    call: PlannedCall,
    pass: Pass,
    outcome: Outcome,
}

/// What became of a call that was handed out.
enum Outcome {
    /// It was made, and this is its answer.
    Answer(Result<Payload, Failure>),
    /// It was not made, for the reason given, and will not be.
    NotMade(&'static str),
}

/// A call that its breaker has let through.
type Launch = (PlannedCall, Pass);

/// Why an executor lets go of its saga without finishing its work.
enum Halt {
    /// Another worker has it: nothing more may be done.
    Fenced,
    /// The lease cannot be proven any more: no further call may be made.
    LeaseLost,
    /// The machine refused what we told it: a bug, reported in the log of the process.
    Bug(String),
}

impl From<HandleError> for Halt {
    fn from(error: HandleError) -> Self {
        Self::Bug(error.to_string())
    }
}

/// What the saga waits for after everything possible has been handed out.
enum Rest {
    /// Something in this process: an answer, a short delay.
    Here(Option<Timestamp>),
    /// Something that needs no executor: let go, to be looked at again then.
    LetGo(Option<Timestamp>),
}

impl Executor {
    pub(crate) fn new(
        driven: Driven,
        tenure: Arc<Tenure>,
        definition: Definition,
        saga: Saga,
        epoch: u64,
    ) -> Self {
        Self {
            telling: Telling::of(&driven.runtime, &saga),
            runtime: driven.runtime.clone(),
            at: driven.runtime.now(),
            tenure,
            definition,
            saga,
            epoch,
            driven,
            calls: JoinSet::new(),
            flying: BTreeMap::new(),
            replies: Vec::new(),
            unconfirmed: None,
        }
    }

    /// Drives the saga as far as this worker can. `events` have been applied but are not yet durable.
    async fn run(mut self, events: Vec<Event>) {
        let lost = self.tenure.lost.clone();
        let outcome = tokio::select! {
            biased;
            () = lost.cancelled() => Err(Halt::LeaseLost),
            outcome = self.drive(events) => outcome,
        };
        self.finish(outcome).await;
    }

    async fn drive(&mut self, mut events: Vec<Event>) -> Result<(), Halt> {
        loop {
            let launches = self.plan(&mut events)?;
            let rest = self.rest(launches.is_empty());
            self.persist(&events, &rest).await?;
            self.launch(launches);
            self.call_off_what_is_unwanted();
            match rest {
                Rest::Here(until) => events = self.wait(until).await?,
                Rest::LetGo(_) => return Ok(()),
            }
        }
    }

    /// Asks the machine and the breakers what can be called now, and records the intents.
    fn plan(&mut self, events: &mut Vec<Event>) -> Result<Vec<Launch>, HandleError> {
        let now = self.at;
        let mut launches = Vec::new();
        while let Next::Call(calls) = self.saga.next(now) {
            // Without a lease to call under, an intent would only have to be taken back.
            if self.runtime.draining.is_cancelled() || !self.tenure.holds() {
                break;
            }
            for call in calls {
                let step = self.saga.spec().step(call.step);
                let stimulus = match self.runtime.breakers.admit(step, call.op) {
                    Ok(pass) => {
                        launches.push((call, pass));
                        Stimulus::Dispatch(call)
                    }
                    Err(until) => Stimulus::Hold { call, until },
                };
                events.extend(self.saga.advance(now, stimulus)?);
            }
        }
        Ok(launches)
    }

    /// Decides whether to stay with the saga. `idle`: nothing is about to be launched.
    fn rest(&self, idle: bool) -> Rest {
        let (now, draining) = (self.at, self.runtime.draining.is_cancelled());
        let busy = !(idle && self.flying.is_empty());
        if busy && self.saga.ended().is_none() {
            // A draining worker leaves calls unplanned that are due: no reason to wake up.
            return Rest::Here(self.saga.wake_at().filter(|at| *at > now || !draining));
        }
        match self.saga.next(now) {
            Next::WaitUntil(at) if at <= now.after(HOT_WAIT_MAX) && !draining => {
                Rest::Here(Some(at))
            }
            Next::WaitUntil(at) => Rest::LetGo(Some(at)),
            // Only a draining worker leaves a call unplanned, and only a lost answer leaves one in flight.
            Next::Call(_) | Next::InFlight => Rest::LetGo(Some(now)),
            Next::Paused => Rest::LetGo(self.saga.deadline_ahead()),
            Next::Stuck(_) | Next::Done(_) => Rest::LetGo(None),
        }
    }

    fn launch(&mut self, launches: Vec<Launch>) {
        for (call, pass) in launches {
            let cancel = CancellationToken::new();
            if self.runtime.drained.is_cancelled() {
                // Announced, but too late to be made.
                cancel.cancel();
            }
            let attempt = self.attempt(call, cancel.clone());
            self.driven.calls.begin(call, self.saga.spec().name_of(call.step));
            self.flying.insert(call, cancel);
            self.calls.spawn(async move { Answered { call, pass, outcome: attempt.make().await } });
        }
    }

    /// Fires the tokens of calls whose answer no longer matters: the saga turned or was stopped.
    fn call_off_what_is_unwanted(&self) {
        for (call, cancel) in &self.flying {
            let turned = call.op == Op::Action && self.saga.phase() == saga_core::Phase::Backward;
            if turned || self.saga.ended().is_some() {
                cancel.cancel();
            }
        }
    }

    /// Waits for whatever comes first, and tells the machine.
    async fn wait(&mut self, until: Option<Timestamp>) -> Result<Vec<Event>, Halt> {
        let now = self.runtime.now();
        let (draining, drained) = (self.runtime.draining.clone(), self.runtime.drained.clone());
        let until = async {
            match until {
                Some(at) => tokio::time::sleep(at.since(now)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answered) = self.calls.join_next() => self.answered(answered),
            () = self.driven.bell.notified() => {
                self.at = self.runtime.now();
                self.read_inbox(Vec::new()).await
            }
            () = until => {
                self.at = self.runtime.now();
                Ok(self.saga.advance(self.at, Stimulus::Tick)?)
            }
            () = draining.cancelled(), if self.flying.is_empty() => Ok(Vec::new()),
            () = drained.cancelled(), if self.flying.values().any(|call| !call.is_cancelled()) => {
                self.flying.values().for_each(CancellationToken::cancel);
                Ok(Vec::new())
            }
        }
    }

    /// Takes the answer that came, and any others that are there already.
    fn answered(
        &mut self,
        first: Result<Answered, tokio::task::JoinError>,
    ) -> Result<Vec<Event>, Halt> {
        self.at = self.runtime.now();
        let mut events = Vec::new();
        let mut next = Some(first);
        while let Some(answered) = next {
            let Answered { call, pass, outcome } =
                answered.map_err(|error| Halt::Bug(format!("a call's task died: {error}")))?;
            self.flying.remove(&call);
            self.driven.calls.end(call);
            let stimulus = match outcome {
                Outcome::Answer(result) => {
                    pass.settle(call::health(&result));
                    Stimulus::Answer { call, result }
                }
                Outcome::NotMade(why) => {
                    pass.settle(CallResult::Abandoned);
                    Stimulus::Withdraw { call, why: why.to_owned() }
                }
            };
            events.extend(self.saga.advance(self.at, stimulus)?);
            next = self.calls.try_join_next();
        }
        Ok(events)
    }

    /// Carries out the commands in the inbox, after `events` that are not yet durable.
    async fn read_inbox(&mut self, mut events: Vec<Event>) -> Result<Vec<Event>, Halt> {
        let commands = match self.runtime.store.commands(self.saga.id()).await {
            Ok(commands) => commands,
            Err(error) => {
                // The command stays in the inbox and is found again by the poll.
                tracing::warn!(saga_id = %self.saga.id(), %error, "cannot read the inbox");
                return Ok(events);
            }
        };
        for command in commands {
            let request_id = command.request_id.clone();
            // What is in the same transition has moved the saga on already.
            let seq = self.saga.head().seq + u64::from(!events.is_empty());
            if let Err(refusal) = self.vet(&command).and_then(|()| command.check_position(seq)) {
                self.replies.push((request_id, CommandAnswer::Refused(refusal)));
                continue;
            }
            let answer = match self.saga.advance(self.at, Stimulus::Command(command)) {
                Ok(more) => {
                    events.extend(more);
                    CommandAnswer::Accepted
                }
                Err(HandleError::Refused(refusal)) => CommandAnswer::Refused(refusal),
                Err(error @ HandleError::Illegal(_)) => return Err(error.into()),
            };
            self.replies.push((request_id, answer));
        }
        Ok(events)
    }

    /// Refuses an assumed output that could not be an output: one that is too big, or that those
    /// who read it could not read.
    fn vet(&self, command: &Command) -> Result<(), Refusal> {
        let CommandAction::Skip { step, assume: Assume::Processed(output) } = &command.action
        else {
            return Ok(());
        };
        let Some(index) = self.saga.spec().find(step) else { return Ok(()) };
        if self.saga.has_accepted(&command.request_id) {
            return Ok(());
        }
        let bounded = output.clone().within(self.runtime.options.payload_bytes_max);
        let checked = bounded.and_then(|output| self.definition.check_output(index, &output));
        checked.map_err(|error| Refusal::Output { step: step.clone(), why: error.to_string() })
    }

    /// Ends what is still in flight, and says why the saga was given up if it was.
    async fn finish(mut self, outcome: Result<(), Halt>) {
        self.flying.values().for_each(CancellationToken::cancel);
        // Each of them ends by itself, after the grace at the latest.
        while let Some(Answered { call, outcome, .. }) = self.next_answered().await {
            self.driven.calls.end(call);
            if let Outcome::NotMade(_) = outcome {
                self.flying.remove(&call);
            }
        }
        let saga_id = self.saga.id();
        match outcome {
            Ok(()) => {}
            Err(Halt::Fenced) => tracing::warn!(%saga_id, "another worker drives this saga now"),
            Err(Halt::LeaseLost) => {
                tracing::warn!(%saga_id, "lease lost, the saga is left to whoever takes it over");
                self.take_back().await;
            }
            Err(Halt::Bug(why)) => {
                tracing::error!(%saga_id, why, "gave the saga up for a minute");
                let wake = self.runtime.now().after(std::time::Duration::from_secs(60));
                let store = &self.runtime.store;
                let released =
                    store.release(saga_id, self.tenure.worker, self.epoch, Some(wake)).await;
                if let Err(error) = released {
                    tracing::warn!(%saga_id, %error, "cannot release the saga, it stays ours");
                    // Our lease goes on, so nobody else will take it: it has to be found here.
                    self.runtime.look_for_strays();
                }
            }
        }
    }

    /// The next call to come back, while there are any; those whose task died are passed over.
    async fn next_answered(&mut self) -> Option<Answered> {
        while let Some(ended) = self.calls.join_next().await {
            if let Ok(answered) = ended {
                return Some(answered);
            }
        }
        None
    }

    /// Whether the log speaks of calls in flight that this executor does not have.
    fn has_lost_calls(&self) -> bool {
        let flying =
            |state: StepState| matches!(state, StepState::Received | StepState::Compensating);
        self.flying.is_empty() && self.saga.steps().iter().any(|step| flying(step.state))
    }
}
