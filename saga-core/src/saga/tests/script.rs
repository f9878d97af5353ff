//! A small language in which the tests of the state machine are written.
//!
//! A *shape* such as `"c1+c2 p r1"` names the steps of a definition: `c…` is
//! compensatable, `p` the pivot, `r…` retriable; `+` makes a parallel group.
//!
//! *Stimuli* are words. `c1:go` hands the action of c1 out; `c1:ok`, `c1:no`
//! (rejected), `c1:no!` (rejected for good), `c1:?` (unknown) and `c1:later`
//! (not yet, with a delay asked for) answer it; `c1:hold` holds it back; `c1`
//! alone is `c1:go c1:ok`. A leading `-` means the compensation. `lost` is a
//! lost worker, `c1:back` a call taken back before it was made, `tick` the passing of no time, `+500` that of 500 ms and `due`
//! that of as much as the saga waits for. `retry`, `skip(c1=processed)`,
//! `skip(c1=no-effect)`, `skip(c1=compensated)`, `skip(c1=remains)`, `compensate`,
//! `cancel`, `pause`, `resume` and `stop` are operator commands.
//!
//! *Events* are written as [`words`] puts them.

use std::sync::Arc;
use std::time::Duration;

use crate::command::{Assume, Command, CommandAction};
use crate::context::Op;
use crate::definition::{DefinitionSpec, StepKind, StepSpec};
use crate::event::{Event, RecoveryCause, StuckReason};
use crate::failure::Failure;
use crate::id::{Bucket, IdempotencyKey, SagaId, StepIndex};
use crate::log::LogRow;
use crate::payload::Payload;
use crate::policy::breaker::BreakerPolicy;
use crate::policy::retry::RetryPolicy;
use crate::saga::{HandleError, Next, PlannedCall, Saga, StartRequest, StepLedger, Stimulus};
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};

/// Workers lost in a row that make a poison, in these tests: two.
pub(super) const LOSSES_MAX: u32 = 2;
/// How long `c1:hold` holds a call back, and `c1:later` asks for.
pub(super) const HELD: Duration = Duration::from_secs(30);

/// A saga under test with its log and its clock.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) saga: Saga,
    pub(super) log: Vec<LogRow>,
    pub(super) now: Timestamp,
    commands: u32,
}

/// The definition of a shape, with the default policies.
pub(super) fn spec(shape: &str) -> DefinitionSpec {
    let stages = shape.split_whitespace().enumerate();
    let steps = stages.flat_map(|(stage, group)| {
        group.split('+').map(move |name| {
            let (kind, retry) = match &name[..1] {
                "c" => (StepKind::Compensatable, RetryPolicy::ACTION),
                "p" => (StepKind::Pivot, RetryPolicy::PERSISTENT),
                "r" => (StepKind::Retriable, RetryPolicy::PERSISTENT),
                _ => panic!("a step's name begins with c, p or r: {name}"),
            };
            StepSpec {
                name: name.to_owned(),
                kind,
                stage: stage as u16,
                participant: format!("service-of-{name}"),
                timeout_ms: 3_000,
                retry,
                compensation_timeout_ms: 3_000,
                compensation_retry: RetryPolicy::PERSISTENT,
                breaker: BreakerPolicy::default(),
            }
        })
    });
    let spec = DefinitionSpec {
        name: "under-test".to_owned(),
        version: 1,
        deadline_ms: None,
        steps: steps.collect(),
    };
    assert_eq!(spec.faults(), []);
    spec
}

/// The same definition with so many attempts for every call, and delays of 1 to 4 s at most.
pub(super) fn attempts(mut spec: DefinitionSpec, attempts_max: u32) -> DefinitionSpec {
    let policy =
        RetryPolicy::new(attempts_max, Duration::from_secs(1)).capped(Duration::from_secs(4));
    for step in &mut spec.steps {
        (step.retry, step.compensation_retry) = (policy.clone(), policy.clone());
    }
    spec
}

impl Script {
    /// A saga of this shape that has just been started.
    pub(super) fn of(shape: &str) -> Self {
        Self::start(spec(shape))
    }

    /// The same with two attempts for every call.
    pub(super) fn short(shape: &str) -> Self {
        Self::start(attempts(spec(shape), 2))
    }

    /// The same with a deadline, in milliseconds.
    pub(super) fn with_deadline(shape: &str, deadline_ms: u64) -> Self {
        Self::start(DefinitionSpec { deadline_ms: Some(deadline_ms), ..spec(shape) })
    }

    pub(super) fn start(spec: DefinitionSpec) -> Self {
        let now = Timestamp::from_micros(1_000_000);
        let id = SagaId::new(1, 7, Bucket::of("under-test", 1));
        let request =
            StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
        let (mut saga, events) = Saga::start(id, Arc::new(spec), now, request);
        let first = saga.seal(1, now, &events);
        Self { saga, log: vec![first], now, commands: 0 }
    }

    /// Goes through stimuli, each of which has to be accepted.
    #[track_caller]
    pub(super) fn run(&mut self, stimuli: &str) -> Vec<Event> {
        let told = stimuli.split_whitespace().flat_map(|word| match self.tell(word) {
            Ok(events) => events,
            Err(error) => panic!("{word} after {}: {error}", self.story()),
        });
        told.collect()
    }

    /// Goes through stimuli and checks the events that follow from them, and that the log
    /// rebuilds the saga.
    #[track_caller]
    pub(super) fn expect(&mut self, stimuli: &str, expected: &str) {
        let before = self.story();
        let events = self.run(stimuli);
        assert_eq!(self.words(&events), expected, "of {stimuli:?} after {before}");
        let replayed = Saga::replay(self.saga.id(), self.saga.spec().clone(), &self.log);
        assert_eq!(replayed.as_ref(), Ok(&self.saga), "replay after {before}");
    }

    /// Checks that a stimulus is refused, changes nothing and is explained by these words.
    #[track_caller]
    pub(super) fn refuses(&mut self, stimulus: &str, explanation: &str) {
        let before = self.saga.clone();
        match self.tell(stimulus) {
            Ok(events) => panic!("{stimulus} led to {}", self.words(&events)),
            Err(error) => assert!(error.to_string().contains(explanation), "{error}"),
        }
        assert_eq!(self.saga, before);
    }

    /// Tells the saga one word, and seals what follows as a row of the log.
    pub(super) fn tell(&mut self, word: &str) -> Result<Vec<Event>, HandleError> {
        if let Some(ms) = word.strip_prefix('+') {
            let ms = ms.parse().unwrap_or_else(|_| panic!("{word} is no delay"));
            self.now = self.now.after(Duration::from_millis(ms));
            return Ok(Vec::new());
        }
        if word == "due" {
            match self.saga.wake_at() {
                Some(at) => self.now = self.now.max(at),
                None => panic!("nothing to wait for after {}", self.story()),
            }
            return self.send(Stimulus::Tick);
        }
        if let Some(call) = self.call(word) {
            let mut events = self.send(Stimulus::Dispatch(call))?;
            events.extend(self.send(Stimulus::Answer { call, result: Ok(output_of(call)) })?);
            return Ok(events);
        }
        let stimulus = self.stimulus(word);
        self.send(stimulus)
    }

    /// Tells the saga a stimulus, after checking that `handle` decides the same and changes nothing.
    pub(super) fn send(&mut self, stimulus: Stimulus) -> Result<Vec<Event>, HandleError> {
        let before = self.saga.clone();
        let decided = self.saga.handle(self.now, stimulus.clone());
        assert_eq!(self.saga, before, "handle changes nothing");
        let done = self.saga.advance(self.now, stimulus);
        assert_eq!(decided, done, "handle and advance decide alike");
        if let Ok(events) = &done
            && !events.is_empty()
        {
            self.log.push(self.saga.seal(1, self.now, events));
        }
        done
    }

    fn stimulus(&mut self, word: &str) -> Stimulus {
        if let Some((call, answer)) = word.split_once(':') {
            let call = self.call(call).unwrap_or_else(|| panic!("{word} names no step"));
            let result = match answer {
                "go" => return Stimulus::Dispatch(call),
                "hold" => return Stimulus::Hold { call, until: self.now.after(HELD) },
                "back" => return Stimulus::Withdraw { call, why: "drained".to_owned() },
                "ok" => Ok(output_of(call)),
                "no" => Err(Failure::rejected("no")),
                "no!" => Err(Failure::rejected_for_good("never")),
                "?" => Err(Failure::transient("who knows")),
                "later" => Err(Failure::not_yet(HELD, "busy")),
                _ => panic!("{word} is no stimulus"),
            };
            return Stimulus::Answer { call, result };
        }
        match word {
            "lost" => Stimulus::WorkerLost { losses_max: LOSSES_MAX },
            "tick" => Stimulus::Tick,
            _ => Stimulus::Command(self.command(word)),
        }
    }

    /// An operator command under a request id of its own.
    pub(super) fn command(&mut self, word: &str) -> Command {
        self.commands += 1;
        Command {
            request_id: IdempotencyKey::new(format!("request-{}", self.commands)).expect("short"),
            actor: "ada".to_owned(),
            reason: "because".to_owned(),
            action: action(word),
            expected_seq: None,
        }
    }

    fn call(&self, word: &str) -> Option<PlannedCall> {
        let (name, op) = match word.strip_prefix('-') {
            Some(name) => (name, Op::Compensation),
            None => (word, Op::Action),
        };
        Some(PlannedCall { step: self.saga.spec().find(name)?, op })
    }

    /// The ledger of a step.
    pub(super) fn ledger(&self, step: &str) -> &StepLedger {
        let index = self.saga.spec().find(step).expect("a step of the shape");
        &self.saga.steps()[index.usize()]
    }

    /// What is to be done next, in words.
    pub(super) fn next(&self) -> String {
        match self.saga.next(self.now) {
            Next::Call(calls) => {
                let calls: Vec<_> = calls.iter().map(|call| self.call_words(*call)).collect();
                format!("call {}", calls.join(" "))
            }
            Next::InFlight => "in flight".to_owned(),
            Next::WaitUntil(at) => format!("wait {} ms", at.since(self.now).as_millis()),
            Next::Paused => "paused".to_owned(),
            Next::Stuck(reason) => format!("stuck: {}", self.stuck_words(&reason)),
            Next::Done(verdict) => verdict_words(&verdict),
        }
    }

    fn call_words(&self, call: PlannedCall) -> String {
        let sign = if call.op == Op::Compensation { "-" } else { "" };
        format!("{sign}{}", self.saga.spec().name_of(call.step))
    }

    fn stuck_words(&self, reason: &StuckReason) -> String {
        let step = reason.step().map(|step| format!(" {}", self.saga.spec().name_of(step)));
        format!("{}{}", reason.code(), step.unwrap_or_default())
    }

    /// Events in words.
    pub(super) fn words(&self, events: &[Event]) -> String {
        let words: Vec<_> = events.iter().map(|event| self.event_words(event)).collect();
        words.join(", ")
    }

    fn event_words(&self, event: &Event) -> String {
        let name = |step: &StepIndex| self.saga.spec().name_of(*step);
        let again = |at: &Option<Timestamp>| if at.is_some() { "" } else { " spent" };
        match event {
            Event::SagaStarted(_) => "started".to_owned(),
            Event::StepReceived { step, attempt } => format!("{} received {attempt}", name(step)),
            Event::StepProcessed { step, .. } => format!("{} processed", name(step)),
            Event::StepFailed { step, retry_at, .. } => {
                format!("{} failed{}", name(step), again(retry_at))
            }
            Event::StepRejected { step, .. } => format!("{} rejected", name(step)),
            Event::CallHeld { step, op, .. } => {
                format!("{} held", self.call_words(PlannedCall { step: *step, op: *op }))
            }
            Event::CallWithdrawn { step, op, .. } => {
                format!("{} withdrawn", self.call_words(PlannedCall { step: *step, op: *op }))
            }
            Event::WorkerLost => "lost".to_owned(),
            Event::RecoveryBegan { cause } => match cause {
                RecoveryCause::StepRejected { step } => format!("turned: {} rejected", name(step)),
                RecoveryCause::AttemptsSpent { step } => format!("turned: {} spent", name(step)),
                RecoveryCause::DeadlinePassed => "turned: deadline".to_owned(),
                RecoveryCause::Commanded => "turned: commanded".to_owned(),
            },
            Event::CompensationReceived { step, attempt } => {
                format!("-{} received {attempt}", name(step))
            }
            Event::StepCompensated { step } => format!("-{} compensated", name(step)),
            Event::CompensationFailed { step, retry_at, .. } => {
                format!("-{} failed{}", name(step), again(retry_at))
            }
            Event::SagaStuck { reason } => format!("stuck: {}", self.stuck_words(reason)),
            Event::CommandAccepted(command) => format!("accepted {}", command.action),
            Event::SagaEnded { verdict } => verdict_words(verdict),
        }
    }

    fn story(&self) -> String {
        let events = self.log.iter().flat_map(|row| row.decode().expect("our own row").events);
        self.words(&events.collect::<Vec<_>>())
    }
}

/// The command action of a word.
pub(super) fn action(word: &str) -> CommandAction {
    match word {
        "retry" => CommandAction::Retry,
        "compensate" => CommandAction::Compensate,
        "cancel" => CommandAction::Cancel,
        "pause" => CommandAction::Pause,
        "resume" => CommandAction::Resume,
        "stop" => CommandAction::Stop,
        _ => {
            let inner = word.strip_prefix("skip(").and_then(|rest| rest.strip_suffix(')'));
            let parts = inner.and_then(|inner| inner.split_once('='));
            let (step, assume) = parts.unwrap_or_else(|| panic!("{word} is no stimulus"));
            let assume = match assume {
                "processed" => Assume::Processed(Payload::null()),
                "no-effect" => Assume::NoEffect,
                "compensated" => Assume::Compensated,
                "remains" => Assume::EffectRemains,
                _ => panic!("{word} assumes nothing known"),
            };
            CommandAction::Skip { step: step.to_owned(), assume }
        }
    }
}

fn output_of(call: PlannedCall) -> Payload {
    Payload::encode(&call.step.0).expect("a number")
}

/// A verdict in words: `!` marks an effect that is present, `?` one that may be.
pub(super) fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Completed => "completed".to_owned(),
        Verdict::Compensated => "compensated".to_owned(),
        Verdict::Stopped { remaining } => {
            let mark = |effect| if effect == Effect::Present { '!' } else { '?' };
            let steps: Vec<_> = remaining
                .iter()
                .map(|left| format!("{}{}", left.step, mark(left.effect)))
                .collect();
            format!("stopped {}", steps.join(" "))
        }
    }
}
