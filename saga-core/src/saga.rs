//! The state machine: a saga as a value.
//!
//! Rebuilt from its log by [`Saga::replay`], changed only by the events it
//! applies, asked by [`Saga::next`] what to do. It knows no database, clock,
//! task or socket.
//!
//! ```mermaid
//! stateDiagram-v2
//!     direction LR
//!     [*] --> running
//!     running --> completed: every step processed
//!     running --> compensating: rejected, attempts spent, deadline, cancel
//!     running --> stuck: pivot or retriable step cannot go on, poison
//!     compensating --> compensated: every possible effect undone
//!     compensating --> stuck: a compensation cannot go on, poison
//!     stuck --> running: retry, skip
//!     stuck --> compensating: retry, skip, compensate
//!     stuck --> stopped: stop
//!     running --> stopped: stop
//!     compensating --> stopped: stop, or effects left by skip
//! ```
//!
//! One step:
//!
//! ```mermaid
//! stateDiagram-v2
//!     direction LR
//!     [*] --> pending
//!     pending --> received: intent durable
//!     received --> processed: success
//!     received --> failed: timeout, error, rejection, worker lost
//!     received --> pending: withdrawn before it was called
//!     failed --> received: retry
//!     processed --> compensating: backward recovery
//!     failed --> compensating: backward recovery, effect unknown
//!     compensating --> compensated: undone
//!     compensating --> compensation_failed: error
//!     compensation_failed --> compensating: retry
//! ```

mod apply;
mod commands;
mod decide;
mod ledger;
mod status;
mod wait;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use ledger::{StepLedger, StepState};
pub use status::Status;
pub use wait::WaitReason;

use crate::command::{Command, Refusal};
use crate::context::Op;
use crate::definition::{DefinitionRef, DefinitionSpec, StepKind};
use crate::event::{Event, SagaStarted, StuckReason};
use crate::failure::Failure;
use crate::id::{IdempotencyKey, SagaId, StepIndex};
use crate::log::{LogError, LogHead, LogRow, Transition};
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};

/// One run of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saga {
    id: SagaId,
    spec: Arc<DefinitionSpec>,
    started: SagaStarted,
    started_at: Timestamp,
    head: LogHead,
    phase: Phase,
    steps: Vec<StepLedger>,
    stuck: Option<StuckReason>,
    paused: Option<Command>,
    losses: u32,
    commands: Vec<IdempotencyKey>,
    ended: Option<(Timestamp, Verdict)>,
}

/// The direction a saga moves in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On to the end.
    Forward,
    /// Compensating, last to first.
    Backward,
}

/// Something the machine is told.
#[derive(Clone, Debug)]
pub enum Stimulus {
    /// A planned call is about to be made: make the intent durable first.
    Dispatch(PlannedCall),
    /// A planned call was held back by a breaker.
    Hold {
        /// Which call.
        call: PlannedCall,
        /// When to ask again.
        until: Timestamp,
    },
    /// A call in flight has answered.
    Answer {
        /// Which call.
        call: PlannedCall,
        /// What it answered.
        result: Result<Payload, Failure>,
    },
    /// A call in flight was never made, which its own worker knows for certain.
    Withdraw {
        /// Which call.
        call: PlannedCall,
        /// Why it was not made.
        why: String,
    },
    /// Another worker took over: whatever was in flight has an unknown outcome.
    WorkerLost {
        /// Workers lost in a row at which the saga counts as poison.
        losses_max: u32,
    },
    /// Time has passed.
    Tick,
    /// An operator asks for something.
    Command(Command),
}

/// A call that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlannedCall {
    /// Which step.
    pub step: StepIndex,
    /// Which half of it.
    pub op: Op,
}

/// What is to be done with a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make these calls (in parallel), each after [`Stimulus::Dispatch`] is durable.
    Call(Vec<PlannedCall>),
    /// Wait for the calls in flight.
    InFlight,
    /// Nothing before this moment.
    WaitUntil(Timestamp),
    /// Nothing before an operator resumes it.
    Paused,
    /// Nothing before an operator mends it.
    Stuck(StuckReason),
    /// Nothing ever again.
    Done(Verdict),
}

/// An event that cannot follow the log so far: a broken log, or a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} is illegal here: {why}")]
pub struct IllegalTransition {
    /// The event in short.
    pub event: String,
    /// What forbids it.
    pub why: String,
}

/// Why a stimulus led to no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The command makes no sense in this state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stimulus contradicts the state: a bug of the caller.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

/// Why a saga could not be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The log itself is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log does not fit the state machine.
    #[error("log row {seq}: {source}")]
    Illegal {
        /// The row.
        seq: u64,
        /// What is illegal about it.
        source: IllegalTransition,
    },
    /// The log is empty or does not begin with a start.
    #[error("the log does not begin with the start of a saga")]
    NoStart,
    /// The log was written under another definition.
    #[error("the saga runs {found} with structure {}, but the definition at hand is {wanted} with structure {}: register the definition it was started with", found.digest, wanted.digest)]
    OtherDefinition {
        /// What the log says.
        found: DefinitionRef,
        /// What was given.
        wanted: DefinitionRef,
    },
}

impl ReplayError {
    /// Whether the log is sound and only too new: a worker of the release that wrote it can go on.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Log(LogError::Newer { .. }))
    }
}

impl Saga {
    /// A saga that has just been started. Its first row has still to be stored.
    pub fn start(
        id: SagaId,
        spec: Arc<DefinitionSpec>,
        now: Timestamp,
        request: StartRequest,
    ) -> (Self, Vec<Event>) {
        let deadline = spec.deadline_ms.map(|ms| now.after(std::time::Duration::from_millis(ms)));
        let started = SagaStarted {
            definition: spec.reference(),
            input: request.input,
            key: request.key,
            deadline,
            traceparent: request.traceparent,
            by: request.by,
        };
        let saga = Self::born(id, spec, now, started.clone());
        (saga, vec![Event::SagaStarted(started)])
    }

    fn born(id: SagaId, spec: Arc<DefinitionSpec>, now: Timestamp, started: SagaStarted) -> Self {
        let steps = vec![StepLedger::default(); spec.steps.len()];
        Self {
            id,
            spec,
            started,
            started_at: now,
            head: LogHead::default(),
            phase: Phase::Forward,
            steps,
            stuck: None,
            paused: None,
            losses: 0,
            commands: Vec::new(),
            ended: None,
        }
    }

    /// Rebuilds a saga from its log, checking the chain and every transition.
    ///
    /// # Errors
    /// [`ReplayError`] naming the first row that does not fit.
    pub fn replay(
        id: SagaId,
        spec: Arc<DefinitionSpec>,
        log: &[LogRow],
    ) -> Result<Self, ReplayError> {
        match Self::replay_known(id, spec, log)? {
            (saga, None) => Ok(saga),
            (_, Some(newer)) => Err(newer.into()),
        }
    }

    /// As [`Saga::replay`], but stops before a row that only a newer release can read and hands
    /// that out beside the saga so far: for showing it, never for driving it.
    ///
    /// # Errors
    /// As [`Saga::replay`] for everything else, and for a first row of that kind.
    pub fn replay_known(
        id: SagaId,
        spec: Arc<DefinitionSpec>,
        log: &[LogRow],
    ) -> Result<(Self, Option<LogError>), ReplayError> {
        let (first, rest) = log.split_first().ok_or(ReplayError::NoStart)?;
        let opening = LogHead::default().open(first)?;
        let Some((Event::SagaStarted(started), events)) = opening.events.split_first() else {
            return Err(ReplayError::NoStart);
        };
        if started.definition != spec.reference() {
            let (found, wanted) = (started.definition.clone(), spec.reference());
            return Err(ReplayError::OtherDefinition { found, wanted });
        }
        let mut saga = Self::born(id, spec, opening.at, started.clone());
        saga.absorb(opening.seq, opening.at, events)?;
        saga.head = first.head();
        for row in rest {
            let Transition { seq, at, events, .. } = match saga.head.open(row) {
                Err(newer @ LogError::Newer { .. }) => return Ok((saga, Some(newer))),
                opened => opened?,
            };
            saga.absorb(seq, at, &events)?;
            saga.head = row.head();
        }
        Ok((saga, None))
    }

    fn absorb(&mut self, seq: u64, at: Timestamp, events: &[Event]) -> Result<(), ReplayError> {
        let mut apply = |event| self.apply(at, event);
        events
            .iter()
            .try_for_each(&mut apply)
            .map_err(|source| ReplayError::Illegal { seq, source })
    }

    /// Seals events that this saga has just gone through as the next row of its log.
    pub fn seal(&mut self, epoch: u64, at: Timestamp, events: &[Event]) -> LogRow {
        let row = self.head.seal(epoch, at, events);
        self.head = row.head();
        row
    }

    /// What is to be done now.
    pub fn next(&self, now: Timestamp) -> Next {
        if let Some((_, verdict)) = &self.ended {
            return Next::Done(verdict.clone());
        }
        // Past the deadline nothing is handed out any more, least of all the pivot.
        let free = self.stuck.is_none() && self.paused.is_none() && !self.overdue(now);
        let due: Vec<_> = if free {
            self.open_calls().filter(|call| self.steps[call.step.usize()].due(now)).collect()
        } else {
            Vec::new()
        };
        if !due.is_empty() {
            return Next::Call(due);
        }
        if self.steps.iter().any(StepLedger::in_flight) {
            return Next::InFlight;
        }
        if let Some(reason) = &self.stuck {
            return Next::Stuck(reason.clone());
        }
        if self.paused.is_some() {
            return Next::Paused;
        }
        Next::WaitUntil(self.wake_at().unwrap_or(now))
    }

    /// The next moment at which time alone can change something: a retry, a breaker's word, the deadline.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let free = self.ended.is_none() && self.stuck.is_none() && self.paused.is_none();
        let open = self.open_calls().filter(|_| free);
        let wakes = open.filter_map(|call| self.steps[call.step.usize()].wake_at);
        wakes.chain(self.deadline_ahead()).min()
    }

    /// The calls that are to be made sooner or later before anything else can happen.
    fn open_calls(&self) -> impl Iterator<Item = PlannedCall> + '_ {
        let (stage, op) = match self.phase {
            Phase::Forward => (self.forward_stage(), Op::Action),
            Phase::Backward => (self.backward_stage(), Op::Compensation),
        };
        let steps = stage.into_iter().flat_map(|stage| self.spec.stage(stage));
        steps.filter(move |step| self.wants(*step, op)).map(move |step| PlannedCall { step, op })
    }

    /// Whether a step of the present stage still needs this call.
    fn wants(&self, step: StepIndex, op: Op) -> bool {
        let ledger = &self.steps[step.usize()];
        !ledger.spent
            && !ledger.in_flight()
            && match op {
                Op::Action => matches!(ledger.state, StepState::Pending | StepState::Failed),
                Op::Compensation => self.to_compensate(step),
            }
    }

    /// The first stage with a step that is not processed.
    fn forward_stage(&self) -> Option<u16> {
        let at = self.steps.iter().position(|step| step.state != StepState::Processed)?;
        Some(self.spec.steps[at].stage)
    }

    /// The last stage with a step to compensate; none while an action is still in flight.
    fn backward_stage(&self) -> Option<u16> {
        if self.steps.iter().any(|step| step.state == StepState::Received) {
            return None;
        }
        let last = self.spec.indexes().rev().find(|step| self.to_compensate(*step))?;
        Some(self.spec.step(last).stage)
    }

    /// Whether a step may have had an effect that has still to be undone.
    fn to_compensate(&self, step: StepIndex) -> bool {
        let ledger = &self.steps[step.usize()];
        self.spec.step(step).kind == StepKind::Compensatable
            && matches!(ledger.effect(), Effect::Present | Effect::Unknown)
            && !ledger.left
    }

    /// The deadline, if passing it would still turn the saga. A stuck saga is turned by nothing
    /// but a person.
    pub fn deadline_ahead(&self) -> Option<Timestamp> {
        let may_turn = self.ended.is_none()
            && self.stuck.is_none()
            && self.phase == Phase::Forward
            && !self.pivot_handed_out();
        self.started.deadline.filter(|_| may_turn)
    }

    /// Whether the deadline has passed and turns the saga at the next stimulus.
    fn overdue(&self, now: Timestamp) -> bool {
        self.deadline_ahead().is_some_and(|deadline| deadline <= now)
    }

    /// Whether the pivot was ever handed out: from then on the saga only goes forward.
    fn pivot_handed_out(&self) -> bool {
        let past_pivot = |(step, ledger): (&crate::definition::StepSpec, &StepLedger)| {
            step.kind != StepKind::Compensatable && ledger.effect() != Effect::None
        };
        self.spec.steps.iter().zip(&self.steps).any(past_pivot)
    }

    /// The verdict if it ended now.
    fn computed_verdict(&self) -> Verdict {
        Verdict::compute(self.phase, self.effects())
    }

    /// The effect of every step, by name.
    fn effects(&self) -> impl Iterator<Item = (&str, Effect)> + Clone {
        self.spec
            .steps
            .iter()
            .zip(&self.steps)
            .map(|(step, ledger)| (step.name.as_str(), ledger.effect()))
    }

    /// Its identity.
    pub fn id(&self) -> SagaId {
        self.id
    }

    /// What it is a run of.
    pub fn spec(&self) -> &Arc<DefinitionSpec> {
        &self.spec
    }

    /// The facts of its birth.
    pub fn started(&self) -> &SagaStarted {
        &self.started
    }

    /// When it was started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The end of its log.
    pub fn head(&self) -> LogHead {
        self.head
    }

    /// The direction it moves in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The ledger of each step, in order.
    pub fn steps(&self) -> &[StepLedger] {
        &self.steps
    }

    /// When and how it ended.
    pub fn ended(&self) -> Option<&(Timestamp, Verdict)> {
        self.ended.as_ref()
    }

    /// Whether a command with this request id was accepted before.
    pub fn has_accepted(&self, request_id: &IdempotencyKey) -> bool {
        self.commands.contains(request_id)
    }
}

/// What a caller gives to start a saga.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// Its input.
    pub input: Payload,
    /// The key under which the start is idempotent.
    pub key: Option<IdempotencyKey>,
    /// W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// Who starts it, where callers have to say who they are.
    pub by: Option<String>,
}
