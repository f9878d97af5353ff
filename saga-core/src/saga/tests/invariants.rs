//! What holds in every state of every saga.

use super::oracle::{Belief, Books};
use crate::context::Op;
use crate::definition::StepKind;
use crate::id::StepIndex;
use crate::saga::{Next, Phase, PlannedCall, Saga, StepLedger, Stimulus};
use crate::time::Timestamp;
use crate::verdict::{Effect, Verdict};

/// Checks a state against the books kept beside it.
pub(super) fn hold(saga: &Saga, now: Timestamp, books: &Books) {
    books_agree(saga, books);
    match saga.ended() {
        Some((_, verdict)) => ended(saga, now, verdict, books),
        None => alive(saga, now, books),
    }
}

/// The ledger claims exactly what can be known.
fn books_agree(saga: &Saga, books: &Books) {
    assert_eq!(saga.phase() == Phase::Backward, books.turned(), "direction of {saga:#?}");
    for (at, (step, ledger)) in saga.spec().steps.iter().zip(saga.steps()).enumerate() {
        let known = match ledger.effect() {
            Effect::None | Effect::Undone => Belief::No,
            Effect::Present => Belief::Yes,
            Effect::Unknown => Belief::Maybe,
        };
        assert_eq!(known, books.belief(at), "effect of {} in {saga:#?}", step.name);
    }
}

fn ended(saga: &Saga, now: Timestamp, verdict: &Verdict, books: &Books) {
    assert_eq!(*verdict, books.verdict());
    assert_eq!(saga.next(now), Next::Done(verdict.clone()));
    assert_eq!((saga.wait(now), saga.wake_at()), (None, None));
    assert!(!saga.status().is_alive());
    assert_eq!(saga.handle(now, Stimulus::Tick), Ok(Vec::new()));
    saga.handle(now, Stimulus::WorkerLost { losses_max: 1 }).expect_err("nothing follows the end");
}

fn alive(saga: &Saga, now: Timestamp, books: &Books) {
    assert!(saga.status().is_alive());
    let wait = saga.wait(now).expect("a live saga waits for something");
    assert!(!wait.to_string().is_empty());
    let flying = saga.steps().iter().any(StepLedger::in_flight);
    match saga.next(now) {
        Next::Call(calls) => {
            assert!(!calls.is_empty());
            let overdue = saga.deadline_ahead().is_some_and(|deadline| deadline <= now);
            assert!(!overdue, "nothing is handed out past the deadline");
            calls.iter().for_each(|call| may_be_called(saga, *call, books));
        }
        Next::InFlight => assert!(flying),
        Next::WaitUntil(at) => {
            assert!(!flying);
            leads_on(saga, now, at);
        }
        Next::Paused | Next::Stuck(_) => assert!(!flying),
        Next::Done(verdict) => panic!("{verdict} without an end"),
    }
}

/// Waiting is no dead end: when the moment has come, there is something to do.
fn leads_on(saga: &Saga, now: Timestamp, at: Timestamp) {
    let (mut later, then) = (saga.clone(), now.max(at));
    later.advance(then, Stimulus::Tick).expect("time may always pass");
    let next = later.next(then);
    assert!(!matches!(next, Next::WaitUntil(again) if again <= then), "{next:?} in {saga:#?}");
}

/// A call is planned only where it is needed and cannot do harm.
fn may_be_called(saga: &Saga, call: PlannedCall, books: &Books) {
    let spec = saga.spec();
    let (step, stage) = (spec.step(call.step), spec.step(call.step).stage);
    let others = || spec.indexes().filter(|other| *other != call.step);
    let belief = |other: StepIndex| books.belief(other.usize());
    assert!(!saga.steps()[call.step.usize()].in_flight());
    match call.op {
        Op::Action => {
            assert_eq!(saga.phase(), Phase::Forward);
            assert_eq!(saga.steps()[call.step.usize()].compensation_attempts, 0);
            let earlier = others().filter(|other| spec.step(*other).stage < stage);
            earlier.for_each(|other| {
                assert_eq!(belief(other), Belief::Yes, "every earlier stage is done")
            });
        }
        Op::Compensation => {
            assert_eq!(saga.phase(), Phase::Backward);
            assert_eq!(step.kind, StepKind::Compensatable);
            assert_ne!(belief(call.step), Belief::No, "only what may have happened is compensated");
            for other in others().filter(|other| spec.step(*other).stage > stage) {
                let left = saga.steps()[other.usize()].left;
                assert!(left || belief(other) == Belief::No, "later stages are compensated first");
            }
        }
    }
}

/// Turning is possible only while no step from the pivot on can have had an effect.
pub(super) fn may_turn(saga: &Saga, books: &Books) {
    for (at, step) in saga.spec().steps.iter().enumerate() {
        if step.kind != StepKind::Compensatable {
            assert_eq!(books.belief(at), Belief::No, "{} may have happened", step.name);
        }
    }
}
