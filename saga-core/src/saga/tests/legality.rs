//! Logs that no saga can have written are not replayed.

use std::sync::Arc;

use super::script::{Script, spec};
use crate::context::Op;
use crate::event::{Event, RecoveryCause};
use crate::failure::{Failure, Rejection, Transient, TransientCause};
use crate::id::StepIndex;
use crate::log::{LogError, LogHead};
use crate::payload::Payload;
use crate::saga::{ReplayError, Saga};
use crate::verdict::{Effect, Remaining, Verdict};

const C1: StepIndex = StepIndex(0);
const C2: StepIndex = StepIndex(1);
const P: StepIndex = StepIndex(2);

fn transient() -> Transient {
    Transient { cause: TransientCause::Timeout, message: "late".to_owned(), retry_after_ms: None }
}

fn rejection() -> Rejection {
    Rejection { reason: "no".to_owned(), settled: false, uncalled: false }
}

/// Checks that none of these events can follow in a saga `c1 c2 p` after `given`, and that
/// trying changes nothing.
#[track_caller]
fn forbids(given: &str, events: &[Event]) {
    let mut script = Script::of("c1 c2 p");
    script.run(given);
    for event in events {
        let before = script.saga.clone();
        let illegal =
            script.saga.apply(script.now, event).expect_err(&event.describe(before.spec()));
        assert!(!illegal.why.is_empty());
        assert_eq!(script.saga, before, "{illegal}");
    }
}

fn answers(step: StepIndex) -> [Event; 3] {
    [
        Event::StepProcessed { step, output: Payload::null() },
        Event::StepFailed { step, failure: transient(), retry_at: None },
        Event::StepRejected { step, rejection: rejection() },
    ]
}

fn compensation_answers(step: StepIndex) -> [Event; 2] {
    let failure = Failure::transient("late");
    [Event::StepCompensated { step }, Event::CompensationFailed { step, failure, retry_at: None }]
}

#[test]
fn there_is_no_answer_without_an_intent() {
    for given in ["", "c1", "c1:go c1:?", "c1 cancel -c1:go"] {
        forbids(given, &answers(C1));
    }
    for given in ["", "c1:go", "c1", "c1 cancel", "c1 cancel -c1:go -c1:?"] {
        forbids(given, &compensation_answers(C1));
    }
}

#[test]
fn there_is_no_intent_out_of_turn() {
    let action = |step, attempt| Event::StepReceived { step, attempt };
    let compensation = |step, attempt| Event::CompensationReceived { step, attempt };
    forbids("", &[action(C2, 1), action(P, 1), compensation(C1, 1)]);
    forbids("c1:go", &[action(C1, 1), action(C1, 2), action(C2, 1)]);
    forbids("c1", &[action(C1, 2), action(P, 1), compensation(C1, 1)]);
    forbids("pause", &[action(C1, 1)]);
    forbids("c1 c2 cancel", &[action(P, 1), compensation(C1, 1), compensation(P, 1)]);
    forbids("c1 c2 cancel -c2", &[compensation(C2, 2), action(C2, 2)]);
}

#[test]
fn attempts_are_numbered_without_gaps() {
    let action = |attempt| Event::StepReceived { step: C1, attempt };
    forbids("", &[action(0), action(2)]);
    forbids("c1:go c1:?", &[action(1), action(3)]);
    let compensation = |attempt| Event::CompensationReceived { step: C1, attempt };
    forbids("c1 cancel -c1:go -c1:?", &[compensation(1), compensation(3)]);
}

#[test]
fn only_a_call_whose_turn_it_is_can_be_held_back() {
    let until = crate::time::Timestamp::from_micros(5);
    let held = |step, op| Event::CallHeld { step, op, until };
    forbids("", &[held(C1, Op::Compensation), held(C2, Op::Action)]);
    forbids("c1:go", &[held(C1, Op::Action)]);
    forbids("c1 cancel", &[held(C1, Op::Action), held(C2, Op::Compensation)]);
}

#[test]
fn a_saga_turns_once_and_never_after_its_pivot_was_handed_out() {
    let turn = || Event::RecoveryBegan { cause: RecoveryCause::Commanded };
    for given in ["c1 cancel", "c1 c2 p:go", "c1 c2 p:go p:?", "c1 c2 p:go p:? due p:go p:no"] {
        forbids(given, &[turn()]);
    }
}

#[test]
fn a_saga_ends_only_with_the_verdict_that_its_ledger_computes() {
    let end = |verdict| Event::SagaEnded { verdict };
    let left = |effect| {
        let remaining = vec![Remaining { step: "c1".to_owned(), effect }];
        end(Verdict::Stopped { remaining })
    };
    forbids("c1", &[end(Verdict::Completed), end(Verdict::Compensated), left(Effect::Unknown)]);
    forbids("c1:go", &[end(Verdict::Compensated), left(Effect::Present)]);
}

#[test]
fn a_log_of_an_earlier_release_keeps_the_verdict_it_was_given() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel c2:ok");
    let (mut log, stop) = (script.log.clone(), script.command("stop"));
    // The earlier release did not ask which way the saga was going.
    let end = Event::SagaEnded { verdict: Verdict::Completed };
    let events = [Event::CommandAccepted(stop), end];
    log.push(script.saga.head().seal(1, script.now, &events));
    let replayed = Saga::replay(script.saga.id(), script.saga.spec().clone(), &log);
    let ended = replayed.expect("it was legal then").ended().cloned();
    assert_eq!(ended.map(|(_, verdict)| verdict), Some(Verdict::Completed));
}

#[test]
fn nothing_follows_the_end() {
    let mut events = vec![
        Event::WorkerLost,
        Event::StepReceived { step: C1, attempt: 1 },
        Event::RecoveryBegan { cause: RecoveryCause::Commanded },
        Event::SagaEnded { verdict: Verdict::Compensated },
    ];
    events.extend(answers(C1));
    forbids("stop", &events);
    forbids("c1 stop", &events);
}

#[test]
fn a_step_that_the_definition_does_not_have_is_no_reason_to_panic() {
    let nowhere = StepIndex(99);
    let mut events = vec![
        Event::StepReceived { step: nowhere, attempt: 1 },
        Event::CompensationReceived { step: nowhere, attempt: 1 },
    ];
    events.extend(answers(nowhere));
    events.extend(compensation_answers(nowhere));
    forbids("c1", &events);
}

#[test]
fn a_log_begins_with_a_start_and_has_only_one() {
    let script = Script::of("c1");
    let (id, definition) = (script.saga.id(), script.saga.spec().clone());
    assert_eq!(Saga::replay(id, definition.clone(), &[]), Err(ReplayError::NoStart));
    let headless = LogHead::default().seal(1, script.now, &[Event::WorkerLost]);
    assert_eq!(Saga::replay(id, definition.clone(), &[headless]), Err(ReplayError::NoStart));
    let mut twice = script.log.clone();
    let started = script.log[0].decode().expect("our own row").events;
    twice.push(script.log[0].head().seal(1, script.now, &started));
    let error = Saga::replay(id, definition, &twice).expect_err("a second start");
    assert!(matches!(error, ReplayError::Illegal { seq: 2, .. }), "{error}");
}

#[test]
fn a_log_is_replayed_only_with_the_definition_it_was_written_under() {
    let mut script = Script::of("c1 c2");
    script.run("c1");
    let other = Arc::new(spec("c1 p"));
    let error = Saga::replay(script.saga.id(), other, &script.log).expect_err("another structure");
    assert!(matches!(error, ReplayError::OtherDefinition { .. }));
    assert!(error.to_string().contains("register the definition it was started with"), "{error}");
    // Policies may be tuned under a running saga.
    let mut tuned = spec("c1 c2");
    tuned.steps[0].timeout_ms = 1;
    tuned.steps[0].retry.attempts_max = 1;
    assert!(Saga::replay(script.saga.id(), Arc::new(tuned), &script.log).is_ok());
}

#[test]
fn a_log_with_a_missing_or_changed_row_is_not_replayed() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go c2:? due c2");
    let replay = |log: &[_]| Saga::replay(script.saga.id(), script.saga.spec().clone(), log);
    assert_eq!(replay(&script.log).as_ref(), Ok(&script.saga));
    for row in 1..script.log.len() {
        let mut missing = script.log.clone();
        missing.remove(row);
        if row < script.log.len() - 1 {
            assert!(matches!(replay(&missing), Err(ReplayError::Log(LogError::Gap { .. }))));
        }
        let mut changed = script.log.clone();
        changed[row].body = changed[row].body.replace("\"attempt\":1", "\"attempt\":2");
        let same = changed == script.log;
        assert!(
            same || matches!(replay(&changed), Err(ReplayError::Log(LogError::Tampered { .. })))
        );
    }
}
