//! An exhaustive walk over every state that a saga can be in.
//!
//! From each state everything that can happen is tried. States are told apart
//! by what decides about the future, not by times and counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::invariants;
use super::oracle::Books;
use super::script::{HELD, action, attempts, spec};
use crate::command::{Command, CommandAction};
use crate::context::Op;
use crate::event::Event;
use crate::failure::Failure;
use crate::id::{Bucket, IdempotencyKey, SagaId, StepIndex};
use crate::log::LogHead;
use crate::payload::Payload;
use crate::saga::{HandleError, Next, Phase, PlannedCall, Saga, StartRequest, StepState, Stimulus};
use crate::time::Timestamp;

/// Far more states than any of these sagas has: something grows without bound.
const STATES_MAX: usize = 100_000;

/// One state on the walk.
#[derive(Clone)]
struct Node {
    saga: Saga,
    now: Timestamp,
    books: Books,
    losses_max: u32,
}

/// Who makes a state change, for the question of who is needed to reach an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Itself,
    Operator,
    Giving,
}

/// A code and the step concerned.
type StuckAt = (&'static str, Option<StepIndex>);

/// What the future depends on.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Alive {
        steps: Vec<(StepState, [bool; 7], u32, usize)>,
        whole: (Phase, Option<StuckAt>, bool, u32, usize),
        books: Books,
    },
    /// An end has no future, so that how it came about makes no difference.
    Ended(String),
}

impl Node {
    fn first(shape: &str, deadline: bool, losses_max: u32) -> Self {
        let mut spec = attempts(spec(shape), 2);
        spec.deadline_ms = deadline.then_some(3_600_000);
        let books = Books::of(spec.steps.iter().map(|step| step.name.as_str().into()));
        let now = Timestamp::from_micros(0);
        let request =
            StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
        let id = SagaId::new(1, 7, Bucket::of("walk", 1));
        let (saga, _) = Saga::start(id, Arc::new(spec), now, request);
        Self { saga, now, books, losses_max }
    }

    fn key(&self) -> Key {
        if let Some((_, verdict)) = self.saga.ended() {
            return Key::Ended(format!("{verdict:?}"));
        }
        // Of moments to come only their order matters; 0 stands for what is due.
        let mut moments: Vec<_> =
            self.saga.steps().iter().filter_map(|step| step.wake_at).collect();
        moments.extend(self.saga.deadline_ahead());
        moments.retain(|at| *at > self.now);
        moments.sort_unstable();
        moments.dedup();
        let rank = |at: Option<Timestamp>| {
            at.and_then(|at| moments.iter().position(|other| *other == at))
                .map_or(0, |rank| rank + 1)
        };
        let phase = self.saga.phase();
        let steps = self.saga.steps().iter().map(|ledger| {
            let settled = matches!(ledger.state, StepState::Processed | StepState::Compensated);
            // An intent that is taken back leads to where it came from.
            let tried_before = match ledger.state {
                StepState::Received => ledger.attempts > 1,
                StepState::Compensating => ledger.compensation_attempts > 1,
                _ => false,
            };
            // That it was refused matters only until somebody wants it tried again.
            let refused = ledger.rejected() && ledger.spent && phase == Phase::Forward;
            let flags = [
                tried_before,
                ledger.doubt && !settled,
                ledger.held_since.is_some(),
                ledger.spent,
                ledger.left,
                refused,
                ledger.output.is_some() && ledger.state != StepState::Compensated,
            ];
            let budget_used = if settled { 0 } else { ledger.budget_used };
            (ledger.state, flags, budget_used, rank(ledger.wake_at))
        });
        let stuck = self.saga.stuck.as_ref().map(|reason| (reason.code(), reason.step()));
        let overdue = match self.saga.started().deadline {
            Some(deadline) if deadline <= self.now => usize::MAX,
            deadline => rank(deadline),
        };
        let (paused, losses) = (self.saga.paused.is_some(), self.saga.losses.min(self.losses_max));
        let whole = (phase, stuck, paused, losses, overdue);
        Key::Alive { steps: steps.collect(), whole, books: self.books.clone() }
    }

    fn flying(&self) -> impl Iterator<Item = PlannedCall> {
        let flying = |(step, ledger): (_, &crate::saga::StepLedger)| match ledger.state {
            StepState::Received => Some(PlannedCall { step, op: Op::Action }),
            StepState::Compensating => Some(PlannedCall { step, op: Op::Compensation }),
            _ => None,
        };
        self.saga.spec().indexes().zip(self.saga.steps()).filter_map(flying)
    }

    /// Everything that can happen here, with the moment at which it does.
    fn stimuli(&self) -> Vec<(Timestamp, Stimulus)> {
        let mut stimuli = vec![Stimulus::WorkerLost { losses_max: self.losses_max }];
        if let Next::Call(calls) = self.saga.next(self.now) {
            stimuli.extend(calls.iter().map(|call| Stimulus::Dispatch(*call)));
            let until = self.now.after(HELD);
            stimuli.extend(calls.into_iter().map(|call| Stimulus::Hold { call, until }));
        }
        for call in self.flying() {
            let answers = [
                Ok(Payload::null()),
                Err(Failure::rejected("no")),
                Err(Failure::rejected_for_good("never")),
                Err(Failure::transient("who knows")),
            ];
            stimuli.extend(answers.map(|result| Stimulus::Answer { call, result }));
            stimuli.push(Stimulus::Withdraw { call, why: "drained".to_owned() });
        }
        let accepted = self.commands().filter(|command| self.saga.accepts(command).is_ok());
        stimuli.extend(accepted.map(Stimulus::Command));
        let mut stimuli: Vec<_> =
            stimuli.into_iter().map(|stimulus| (self.now, stimulus)).collect();
        let moments = self.saga.wake_at().into_iter().chain(self.saga.deadline_ahead());
        stimuli.extend(moments.map(|at| (self.now.max(at), Stimulus::Tick)));
        stimuli
    }

    fn commands(&self) -> impl Iterator<Item = Command> {
        let plain = ["retry", "compensate", "cancel", "pause", "resume", "stop"].map(str::to_owned);
        let skips = self.saga.spec().steps.iter().flat_map(|step| {
            ["processed", "no-effect", "compensated", "remains"]
                .map(|assume| format!("skip({}={assume})", step.name))
        });
        plain.into_iter().chain(skips.collect::<Vec<_>>()).map(|word| Command {
            request_id: IdempotencyKey::new("walk").expect("short"),
            actor: "ada".to_owned(),
            reason: "because".to_owned(),
            action: action(&word),
            expected_seq: None,
        })
    }

    /// The state after a stimulus, and the events that led there.
    fn after(&self, now: Timestamp, stimulus: &Stimulus) -> (Self, Vec<Event>) {
        let mut node = Self { now, ..self.clone() };
        let told = node.saga.advance(now, stimulus.clone());
        let events = told.unwrap_or_else(|error| panic!("{stimulus:?}: {error}\n{:#?}", self.saga));
        node.saga.commands.clear();
        match stimulus {
            Stimulus::Dispatch(call) => node.books.sent(*call),
            Stimulus::Answer { call, result } => node.books.answered(*call, result),
            Stimulus::Withdraw { call, .. } => node.books.withdrawn(*call),
            Stimulus::WorkerLost { .. } => node.books.lost(),
            Stimulus::Command(Command { action: CommandAction::Skip { step, assume }, .. }) => {
                node.books.told(step, assume);
            }
            Stimulus::Hold { .. } | Stimulus::Tick | Stimulus::Command(_) => {}
        }
        node.books.heard(&events);
        if events.iter().any(|event| matches!(event, Event::RecoveryBegan { .. })) {
            invariants::may_turn(&node.saga, &node.books);
        }
        let mended = self.saga.stuck.is_some() && node.saga.stuck.is_none();
        assert!(
            !mended || matches!(stimulus, Stimulus::Command(_)),
            "only a person mends a stuck saga"
        );
        let blamed =
            |event: &Event| matches!(event, Event::SagaStuck { reason } if reason.step().is_some());
        if events.iter().any(blamed) {
            let busy = node.flying().next().is_some() || node.saga.open_calls().next().is_some();
            assert!(!busy, "nothing is left to be done by a saga that is stuck: {:#?}", node.saga);
        }
        (node, events)
    }

    /// The log, read back, leads to the same state.
    fn reads_back(&self, child: &Self, events: &[Event]) {
        let row = LogHead::default().seal(1, child.now, events);
        let mut read = self.saga.clone();
        for event in row.decode().expect("our own row").events {
            read.apply(child.now, &event).expect("what was decided is legal");
        }
        read.commands.clear();
        assert_eq!(read, child.saga);
    }

    /// What contradicts the state is refused: answers without an intent, calls out of turn.
    fn refuses_nonsense(&self) {
        let flying: Vec<_> = self.flying().collect();
        let open: Vec<_> = self.saga.open_calls().collect();
        let (calls, mut saga) = (self.saga.spec().indexes(), self.saga.clone());
        for call in
            calls.flat_map(|step| [Op::Action, Op::Compensation].map(|op| PlannedCall { step, op }))
        {
            let mut refused = |stimulus| {
                let refused = saga.advance(self.now, stimulus);
                assert!(matches!(refused, Err(HandleError::Illegal(_))), "{call:?}: {refused:?}");
            };
            if !flying.contains(&call) {
                refused(Stimulus::Answer { call, result: Ok(Payload::null()) });
                refused(Stimulus::Withdraw { call, why: "drained".to_owned() });
            }
            let halted = self.saga.stuck.is_some() || self.saga.paused.is_some();
            if halted || !open.contains(&call) {
                refused(Stimulus::Dispatch(call));
            }
            if self.saga.ended().is_some() || !open.contains(&call) {
                refused(Stimulus::Hold { call, until: self.now.after(Duration::from_secs(1)) });
            }
        }
        assert_eq!(saga, self.saga, "what is refused changes nothing");
    }
}

/// All states reached, and how they hang together.
#[derive(Default)]
struct Graph {
    numbers: HashMap<Key, usize>,
    /// Whether a state is an end, and whether it needs an operator to go on.
    rests: Vec<(bool, bool)>,
    edges: Vec<(usize, usize, By)>,
}

impl Graph {
    /// The number of a state, and whether it is new.
    fn enter(&mut self, node: &Node) -> (usize, bool) {
        let next = self.numbers.len();
        let number = *self.numbers.entry(node.key()).or_insert(next);
        if let Some((_, verdict)) = node.saga.ended() {
            assert_eq!(*verdict, node.books.verdict());
        }
        if number == next {
            assert!(next < STATES_MAX, "the walk does not come to an end");
            invariants::hold(&node.saga, node.now, &node.books);
            node.refuses_nonsense();
            let waits = matches!(node.saga.next(node.now), Next::Paused | Next::Stuck(_));
            self.rests.push((node.saga.ended().is_some(), waits));
        }
        (number, number == next)
    }

    fn explore(first: Node) -> Self {
        let mut graph = Self::default();
        let mut open = vec![(graph.enter(&first).0, first)];
        while let Some((number, node)) = open.pop() {
            if node.saga.ended().is_some() {
                continue;
            }
            let mut stops = false;
            for (now, stimulus) in node.stimuli() {
                let (child, events) = node.after(now, &stimulus);
                let by = match &stimulus {
                    Stimulus::Command(Command { action: CommandAction::Stop, .. }) => By::Giving,
                    Stimulus::Command(_) => By::Operator,
                    _ => By::Itself,
                };
                stops |= by == By::Giving && child.saga.ended().is_some();
                let (to, new) = graph.enter(&child);
                graph.edges.push((number, to, by));
                if new {
                    node.reads_back(&child, &events);
                    open.push((to, child));
                }
            }
            assert!(stops, "every live saga can be stopped: {:#?}", node.saga);
        }
        graph
    }

    /// Which states lead to one of `targets` over edges that pass.
    fn reaching(&self, targets: impl Fn(usize) -> bool, passes: impl Fn(By) -> bool) -> Vec<bool> {
        let mut back = vec![Vec::new(); self.rests.len()];
        for (from, to, _) in self.edges.iter().filter(|(.., by)| passes(*by)) {
            back[*to].push(*from);
        }
        let mut open: Vec<_> = (0..self.rests.len()).filter(|number| targets(*number)).collect();
        let mut reached = vec![false; self.rests.len()];
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut reached[number], true) {
                open.extend(&back[number]);
            }
        }
        reached
    }
}

/// Walks a saga with two attempts for every call; `states` is how many states it has, so that
/// a walk that collapses is noticed.
#[track_caller]
fn walk(first: Node, states: usize) {
    let shape: Vec<_> = first.saga.spec().steps.iter().map(|step| step.name.as_str()).collect();
    let shape = shape.join(" ");
    let graph = Graph::explore(first);
    let (found, edges) = (graph.rests.len(), graph.edges.len());
    println!("{shape}: {found} states, {edges} transitions");
    let can_end = graph.reaching(|number| graph.rests[number].0, |by| by != By::Giving);
    assert!(
        can_end.iter().all(|reached| *reached),
        "from every state an end can be reached without stop"
    );
    let rests = |number: usize| graph.rests[number].0 || graph.rests[number].1;
    let comes_to_rest = graph.reaching(rests, |by| by == By::Itself);
    assert!(comes_to_rest.iter().all(|reached| *reached), "nobody is needed to come to a rest");
    assert_eq!(found, states, "the number of states of {shape} has changed: is that meant?");
}

#[test]
fn every_state_of_a_sequential_saga_holds_its_invariants() {
    walk(Node::first("c1 c2 p r1", false, 2), 7173);
}

#[test]
fn every_state_of_a_saga_with_a_deadline_holds_its_invariants() {
    walk(Node::first("c1 c2 p", true, 2), 11781);
}

#[test]
fn every_state_of_a_saga_without_a_pivot_holds_its_invariants() {
    walk(Node::first("c1 c2", false, 2), 4924);
}

#[test]
fn every_state_of_a_saga_of_retriable_steps_holds_its_invariants() {
    walk(Node::first("r1 r2", true, 2), 271);
}

#[test]
fn every_state_of_a_parallel_saga_holds_its_invariants() {
    walk(Node::first("c1+c2 p r1+r2", false, 1), 45429);
}
