//! The transitions of a step, and what each kind of answer leads to.

use std::time::Duration;

use super::check;
use super::script::Script;
use crate::context::Op;
use crate::failure::Failure;
use crate::id::StepIndex;
use crate::saga::{Phase, PlannedCall, StepState, Stimulus};
use crate::verdict::Effect;

#[test]
fn received_to_processed_on_success() {
    check("c1 c2", "c1:go", "c1:ok", "c1 processed");
}

#[test]
fn received_to_failed_on_a_timeout() {
    let mut script = Script::of("c1 c2");
    script.run("c1:go");
    script.expect("c1:?", "c1 failed");
    assert_eq!(script.ledger("c1").state, StepState::Failed);
    assert_eq!(script.ledger("c1").effect(), Effect::Unknown);
}

#[test]
fn received_to_failed_on_a_constraint_violation() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go");
    script.expect("c2:no", "c2 rejected, turned: c2 rejected");
    assert_eq!(script.ledger("c2").state, StepState::Failed);
    assert_eq!(script.ledger("c2").effect(), Effect::None);
}

#[test]
fn failed_to_received_on_retry() {
    let mut script = Script::of("c1");
    script.run("c1:go c1:?");
    script.expect("due c1:go", "c1 received 2");
    assert_eq!(script.ledger("c1").state, StepState::Received);
}

#[test]
fn failed_to_compensated_after_three_attempts_are_spent() {
    let mut script = Script::of("c1");
    script.run("c1:go c1:? due c1:go c1:? due c1:go");
    script.expect("c1:?", "c1 failed spent, turned: c1 spent");
    script.expect("-c1", "-c1 received 1, -c1 compensated, compensated");
    assert_eq!(script.ledger("c1").state, StepState::Compensated);
}

#[test]
fn the_first_retry_of_a_compensatable_action_comes_within_two_seconds_the_second_within_four() {
    let mut script = Script::of("c1");
    for (attempts, bound_ms) in [("c1:go c1:?", 2_000), ("due c1:go c1:?", 4_000)] {
        script.run(attempts);
        let wake = script.saga.wake_at().expect("a retry is due some time");
        assert!(wake.since(script.now).as_millis() <= bound_ms, "{}", script.next());
    }
}

#[test]
fn a_saga_whose_steps_are_all_processed_is_completed() {
    check("c1 c2 p r1 r2", "c1 c2 p r1", "r2", "r2 received 1, r2 processed, completed");
}

#[test]
fn an_answer_in_a_row_of_steps_hands_the_next_one_out() {
    let mut script = Script::of("c1 p r1");
    assert_eq!(script.next(), "call c1");
    script.run("c1:go");
    assert_eq!(script.next(), "in flight");
    script.run("c1:ok");
    assert_eq!(script.next(), "call p");
}

#[test]
fn a_rejected_step_compensates_the_earlier_ones_in_reverse() {
    let mut script = Script::of("c1 c2 c3");
    script.run("c1 c2 c3:go c3:no");
    assert_eq!(script.next(), "call -c2");
    script.run("-c2");
    assert_eq!(script.next(), "call -c1");
    script.expect("-c1", "-c1 received 1, -c1 compensated, compensated");
}

#[test]
fn a_step_rejected_at_its_first_attempt_is_not_compensated() {
    check("c1", "c1:go", "c1:no", "c1 rejected, turned: c1 rejected, compensated");
}

#[test]
fn a_step_rejected_after_an_unknown_attempt_is_compensated_too() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go c2:? due c2:go c2:no");
    assert_eq!(script.next(), "call -c2");
    script.run("-c2 -c1");
    assert_eq!(script.next(), "compensated");
}

#[test]
fn a_rejection_for_good_settles_the_doubt_of_an_earlier_attempt() {
    let given = "c1:go c1:? due c1:go";
    check("c1", given, "c1:no!", "c1 rejected, turned: c1 rejected, compensated");
}

#[test]
fn a_success_settles_the_doubt_of_an_earlier_attempt() {
    let mut script = Script::of("c1 c2");
    script.run("c1:go c1:? due c1");
    assert_eq!(script.ledger("c1").effect(), Effect::Present);
}

#[test]
fn a_lost_worker_leaves_the_call_in_flight_unknown_and_it_is_made_again_at_once() {
    let mut script = Script::of("c1");
    script.run("c1:go");
    script.expect("lost", "lost, c1 failed");
    assert_eq!(script.next(), "call c1");
}

#[test]
fn a_lost_worker_spends_an_attempt() {
    let given = "c1:go c1:? due c1:go c1:? due c1:go";
    check("c1", given, "lost", "lost, c1 failed spent, turned: c1 spent");
}

#[test]
fn a_lost_worker_without_a_call_in_flight_changes_no_step() {
    check("c1", "", "lost", "lost");
}

#[test]
fn a_call_held_back_spends_no_attempt_and_leaves_no_doubt() {
    let mut script = Script::short("c1");
    for _ in 0..5 {
        script.expect("c1:hold", "c1 held");
        assert_eq!(script.next(), "wait 30000 ms");
        script.expect("due", "");
    }
    assert_eq!(script.ledger("c1").effect(), Effect::None);
    script.run("c1:go c1:? due c1:go");
    assert_eq!(script.ledger("c1").attempts, 2, "the whole budget was left");
}

#[test]
fn a_retry_that_is_held_back_keeps_the_doubt_of_the_attempt_before() {
    let mut script = Script::of("c1");
    script.run("c1:go c1:? due c1:hold");
    assert_eq!(script.ledger("c1").effect(), Effect::Unknown);
    assert_eq!(script.ledger("c1").attempts, 1);
}

#[test]
fn a_compensation_held_back_spends_no_attempt() {
    let mut script = Script::short("c1 c2");
    script.run("c1 cancel -c1:hold due");
    assert_eq!(script.ledger("c1").compensation_attempts, 0);
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_participant_that_asks_for_time_gets_it() {
    let mut script = Script::of("c1");
    script.run("c1:go c1:later");
    assert_eq!(script.next(), "wait 30000 ms");
}

#[test]
fn a_participant_cannot_ask_for_more_than_an_hour() {
    let mut script = Script::of("c1");
    script.run("c1:go");
    let call = PlannedCall { step: StepIndex(0), op: Op::Action };
    let result = Err(Failure::not_yet(Duration::from_secs(86_400), "come back tomorrow"));
    script.send(Stimulus::Answer { call, result }).expect("it is in flight");
    assert_eq!(script.next(), "wait 3600000 ms");
}

#[test]
fn a_rejected_retriable_step_makes_the_saga_stuck() {
    let mut script = Script::of("c1 p r1");
    script.run("c1 p r1:go");
    script.expect("r1:no", "r1 rejected, stuck: retriable_rejected r1");
    assert_eq!(script.saga.phase(), Phase::Forward);
    assert_eq!(script.next(), "stuck: retriable_rejected r1");
}

#[test]
fn a_retriable_step_whose_attempts_are_spent_makes_the_saga_stuck() {
    let mut script = Script::short("c1 p r1");
    script.run("c1 p r1:go r1:? due r1:go");
    script.expect("r1:?", "r1 failed spent, stuck: retriable_spent r1");
}

#[test]
fn a_saga_of_retriable_steps_alone_completes() {
    check("r1 r2", "r1 r2:go r2:? due", "r2", "r2 received 2, r2 processed, completed");
}

#[test]
fn an_outage_of_a_day_costs_a_held_saga_about_a_hundred_rows() {
    let mut script = Script::of("c1 p");
    let (begun, mut rows) = (script.now, 0);
    while script.now.since(begun) < std::time::Duration::from_secs(24 * 60 * 60) {
        script.run("c1:hold due");
        rows += 1;
    }
    assert!((50..120).contains(&rows), "{rows} rows");
    let late = script.now.since(begun).as_secs_f64() / (24.0 * 60.0 * 60.0);
    assert!(late <= 1.1, "it asks again at most a tenth too late, not at {late}");
}
