//! Random sagas in a random world: whatever happens, the log rebuilds the saga,
//! and the verdict is what its participants confirm.

use proptest::prelude::*;

use super::invariants;
use super::oracle::Books;
use super::script::{HELD, LOSSES_MAX, Script, action, attempts, spec};
use super::world::{Mood, World};
use crate::command::{Assume, Command, CommandAction};
use crate::definition::{DefinitionSpec, StepKind};
use crate::event::StuckReason;
use crate::failure::Failure;
use crate::saga::{HandleError, Next, PlannedCall, Saga, Stimulus};
use crate::verdict::{Effect, Verdict};

/// A saga among its participants, with the books beside it.
struct Trial {
    script: Script,
    world: World,
    books: Books,
    flying: Vec<PlannedCall>,
}

impl Trial {
    fn of(spec: DefinitionSpec) -> Self {
        let books = Books::of(spec.steps.iter().map(|step| step.name.as_str().into()));
        let world = World::of(spec.steps.len());
        Self { script: Script::start(spec), world, books, flying: Vec::new() }
    }

    /// Something happens, chosen by two numbers as far as the state allows.
    fn happen(&mut self, what: u8, how: u8) {
        let due = match self.script.saga.next(self.script.now) {
            Next::Call(calls) => calls,
            _ => Vec::new(),
        };
        match what % 21 {
            0..=6 if !due.is_empty() => self.dispatch(due[usize::from(how) % due.len()]),
            7 if !due.is_empty() => {
                let call = due[usize::from(how) % due.len()];
                self.tell(Stimulus::Hold { call, until: self.script.now.after(HELD) });
            }
            8..=14 if !self.flying.is_empty() => {
                let call = self.flying.remove(usize::from(how) % self.flying.len());
                self.answer(call, how / 16);
            }
            20 if !self.flying.is_empty() => {
                let call = self.flying.remove(usize::from(how) % self.flying.len());
                self.tell(Stimulus::Withdraw { call, why: "drained".to_owned() });
                self.books.withdrawn(call);
            }
            15 => self.lose_worker(how),
            16 => self.world.late_delivery(usize::from(how)),
            17 => self.command(how),
            _ => self.wait(),
        }
        invariants::hold(&self.script.saga, self.script.now, &self.books);
    }

    fn tell(&mut self, stimulus: Stimulus) {
        let told = self.script.send(stimulus.clone());
        let events = told.unwrap_or_else(|error| panic!("{stimulus:?}: {error}"));
        self.books.heard(&events);
    }

    fn dispatch(&mut self, call: PlannedCall) {
        self.tell(Stimulus::Dispatch(call));
        self.books.sent(call);
        self.flying.push(call);
    }

    /// A call in flight meets its fate: refused, answered, lost on the way there or back, late.
    fn answer(&mut self, call: PlannedCall, fate: u8) {
        let unheard = |_| Err(Failure::transient("no answer"));
        let result = match fate {
            0 | 1 => self.world.deliver(call, Mood::Refuse),
            2 => self.world.deliver(call, Mood::RefuseForGood),
            3 | 4 => unheard(self.world.deliver(call, Mood::Accept)),
            5 => unheard(self.world.deliver(call, Mood::RefuseForGood)),
            6 => unheard(Ok(crate::payload::Payload::null())),
            7 | 8 => {
                self.world.delay(call);
                Err(Failure::transient("no answer yet"))
            }
            _ => self.world.deliver(call, Mood::Accept),
        };
        self.books.answered(call, &result);
        self.tell(Stimulus::Answer { call, result });
    }

    fn lose_worker(&mut self, fates: u8) {
        for (at, call) in std::mem::take(&mut self.flying).into_iter().enumerate() {
            match fates >> (2 * at % 8) & 3 {
                0 => self.world.delay(call),
                1 => {}
                _ => drop(self.world.deliver(call, Mood::Accept)),
            }
        }
        if self.script.saga.ended().is_none() {
            self.tell(Stimulus::WorkerLost { losses_max: LOSSES_MAX });
            self.books.lost();
        }
    }

    fn wait(&mut self) {
        if let Some(at) = self.script.saga.wake_at() {
            self.script.now = self.script.now.max(at);
        }
        self.tell(Stimulus::Tick);
    }

    fn command(&mut self, which: u8) {
        let steps = &self.script.saga.spec().steps;
        let step = &steps[usize::from(which / 16) % steps.len()].name;
        let word = match which % 16 {
            0..=2 => "retry".to_owned(),
            3 => format!("skip({step}=processed)"),
            4 => format!("skip({step}=no-effect)"),
            5 => format!("skip({step}=remains)"),
            6 if which.is_multiple_of(32) => "compensate".to_owned(),
            6 => format!("skip({step}=compensated)"),
            7 => "cancel".to_owned(),
            8..=10 => "pause".to_owned(),
            11 => "stop".to_owned(),
            _ => "resume".to_owned(),
        };
        self.order(&word);
    }

    /// An honest operator asks for something, having made sure at the participant that it is so.
    fn order(&mut self, word: &str) {
        let command = self.script.command(word);
        let CommandAction::Skip { step, assume } = action(word) else {
            return self.submit(command);
        };
        let Ok(_) = self.script.saga.handle(self.script.now, Stimulus::Command(command.clone()))
        else {
            return;
        };
        let index = self.script.saga.spec().find(&step).expect("a step of the saga").usize();
        match assume {
            Assume::Processed(_) => self.world.do_by_hand(index),
            Assume::NoEffect if !self.world.close_by_hand(index) => return,
            Assume::Compensated => self.world.undo_by_hand(index),
            Assume::NoEffect | Assume::EffectRemains => {}
        }
        self.books.told(&step, &assume);
        self.submit(command);
    }

    fn submit(&mut self, command: Command) {
        let request_id = command.request_id.clone();
        match self.script.send(Stimulus::Command(command)) {
            Ok(events) => {
                self.books.heard(&events);
                assert!(self.script.saga.has_accepted(&request_id));
            }
            Err(HandleError::Refused(refusal)) => assert!(!refusal.to_string().is_empty()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Everybody does his best from now on, until the saga ends.
    fn bring_to_an_end(&mut self) {
        for _ in 0..500 {
            match self.script.saga.next(self.script.now) {
                Next::Call(calls) => calls.into_iter().for_each(|call| self.dispatch(call)),
                Next::InFlight => {
                    let call = self.flying.remove(0);
                    self.answer(call, u8::MAX);
                }
                Next::WaitUntil(_) => self.wait(),
                Next::Paused => self.order("resume"),
                Next::Stuck(reason) => self.mend(&reason),
                Next::Done(_) => return,
            }
            invariants::hold(&self.script.saga, self.script.now, &self.books);
        }
        panic!("it does not come to an end: {:#?}", self.script.saga);
    }

    /// A person mends a stuck saga by what its participants say.
    fn mend(&mut self, reason: &StuckReason) {
        let Some(step) = reason.step() else { return self.order("retry") };
        let spec = self.script.saga.spec().clone();
        let (name, kind) = (spec.name_of(step), spec.step(step).kind);
        let rejected =
            matches!(self.script.saga.steps()[step.usize()].last_error, Some(Failure::Rejected(_)));
        let assume = match kind {
            _ if !rejected => return self.order("retry"),
            StepKind::Compensatable => "remains",
            StepKind::Pivot if self.world.effects(step.usize()) == 0 => "no-effect",
            StepKind::Pivot | StepKind::Retriable => "processed",
        };
        self.order(&format!("skip({name}={assume})"));
    }

    /// The verdict against what really is, once every late message has arrived.
    fn confirm(mut self) {
        let (_, verdict) = self.script.saga.ended().expect("it has come to an end").clone();
        assert_eq!(verdict, self.books.verdict());
        self.lose_worker(0b_11_01_00_10);
        self.world.deliver_the_rest();
        for (at, step) in self.script.saga.spec().steps.iter().enumerate() {
            let effects = self.world.effects(at);
            match &verdict {
                Verdict::Completed => assert_eq!(effects, 1, "{} of a completed saga", step.name),
                Verdict::Compensated => {
                    assert_eq!(effects, 0, "{} of a compensated saga", step.name)
                }
                Verdict::Stopped { remaining } => {
                    let listed = remaining.iter().find(|left| left.step == step.name);
                    match listed.map(|left| left.effect) {
                        Some(Effect::Present) => {
                            assert_eq!(effects, 1, "{} is certainly there", step.name)
                        }
                        Some(_) => assert!(effects <= 1),
                        None => assert_eq!(effects, 0, "{} is not listed", step.name),
                    }
                }
            }
        }
        self.replays();
    }

    fn replays(&self) {
        let Script { saga, log, .. } = &self.script;
        let replayed = Saga::replay(saga.id(), saga.spec().clone(), log);
        assert_eq!(replayed.as_ref(), Ok(saga));
    }
}

/// The definition of a random saga: groups, kinds, budgets, perhaps a deadline.
fn definitions() -> impl Strategy<Value = DefinitionSpec> {
    let compensatable = prop::collection::vec(1_usize..=3, 0..=3);
    let retriable = prop::collection::vec(1_usize..=3, 0..=2);
    let deadline = prop::option::weighted(0.3, 1_000_u64..200_000);
    let shapes = (compensatable, any::<bool>(), retriable, 1_u32..=4, 1_u32..=3, deadline);
    shapes.prop_filter_map(
        "at least one step",
        |(compensatable, pivot, retriable, tries, undos, deadline)| {
            let mut number = 0;
            let mut group = |kind: &str, size: &usize| {
                let names = (0..*size).map(|_| {
                    number += 1;
                    format!("{kind}{number}")
                });
                names.collect::<Vec<_>>().join("+")
            };
            let mut stages: Vec<_> = compensatable.iter().map(|size| group("c", size)).collect();
            stages.extend(pivot.then(|| "p".to_owned()));
            stages.extend(retriable.iter().map(|size| group("r", size)));
            (!stages.is_empty()).then(|| {
                let mut spec = attempts(spec(&stages.join(" ")), tries);
                spec.steps.iter_mut().for_each(|step| step.compensation_retry.attempts_max = undos);
                DefinitionSpec { deadline_ms: deadline, ..spec }
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_saga_ends_with_the_verdict_that_its_participants_confirm(
        spec in definitions(),
        happenings in prop::collection::vec(any::<(u8, u8)>(), 0..120),
    ) {
        let mut trial = Trial::of(spec);
        for (at, (what, how)) in happenings.into_iter().enumerate() {
            if trial.script.saga.ended().is_some() {
                break;
            }
            trial.happen(what, how);
            if at % 16 == 0 {
                trial.replays();
            }
        }
        trial.bring_to_an_end();
        trial.confirm();
    }

    #[test]
    fn handling_a_stimulus_decides_but_changes_nothing(
        spec in definitions(),
        happenings in prop::collection::vec(any::<(u8, u8)>(), 0..60),
    ) {
        // `Script::send` compares the saga before and after `handle`, and `handle` with `advance`.
        let mut trial = Trial::of(spec);
        for (what, how) in happenings {
            if trial.script.saga.ended().is_none() {
                trial.happen(what, how);
            }
        }
    }
}
