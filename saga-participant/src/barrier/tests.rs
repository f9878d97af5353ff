//! The decision table, row by row. What the rows do in a database is tested in `tests/it`.

use super::decision::{Decision, Guards};
use super::*;
use crate::answer::Answer;
use crate::problem::Problem;

fn identity(op: Op) -> CallIdentity {
    CallIdentity { saga_id: "s-1".to_owned(), step: "reserve-stock".to_owned(), op }
}

fn processed() -> Answer {
    Answer::processed(&7).unwrap().recorded()
}

fn rejected() -> Answer {
    Answer::rejected("out of stock").recorded()
}

fn refusal() -> Answer {
    Answer::dangling_action("s-1:reserve-stock:action")
}

fn check(op: Op, action: Option<Answer>, compensation: Option<Answer>, expected: Decision) {
    let guards = Guards { action, compensation };
    let given = format!("{op} given {guards:?}");
    assert_eq!(guards.decide(&identity(op)), expected, "{given}");
}

#[test]
fn a_first_action_runs_and_a_repeated_one_gets_its_recorded_answer() {
    check(Op::Action, None, None, Decision::Run { output: "null".to_owned() });
    check(Op::Action, Some(processed()), None, Decision::Replay(processed()));
    check(Op::Action, Some(rejected()), None, Decision::Replay(rejected()));
}

#[test]
fn a_compensation_runs_with_the_output_of_its_action_and_only_once() {
    check(Op::Compensation, Some(processed()), None, Decision::Run { output: "7".to_owned() });
    let undone = Answer::nothing_to_compensate();
    check(Op::Compensation, Some(processed()), Some(undone.clone()), Decision::Replay(undone));
}

#[test]
fn a_null_compensation_refuses_its_action_in_advance() {
    check(
        Op::Compensation,
        None,
        None,
        Decision::Record {
            refusal_of_action: Some(refusal()),
            answer: Answer::nothing_to_compensate(),
        },
    );
    check(
        Op::Action,
        Some(refusal()),
        Some(Answer::nothing_to_compensate()),
        Decision::Replay(refusal()),
    );
}

#[test]
fn an_action_whose_row_was_pruned_from_beside_its_compensation_is_refused() {
    check(
        Op::Action,
        None,
        Some(Answer::nothing_to_compensate()),
        Decision::Record { refusal_of_action: None, answer: refusal() },
    );
}

#[test]
fn a_compensation_whose_action_was_pruned_from_beside_it_keeps_its_answer() {
    let undone = Answer::nothing_to_compensate();
    check(
        Op::Compensation,
        None,
        Some(undone.clone()),
        Decision::Record { refusal_of_action: Some(refusal()), answer: undone },
    );
}

#[test]
fn the_compensation_of_a_rejected_action_has_nothing_to_compensate() {
    check(
        Op::Compensation,
        Some(rejected()),
        None,
        Decision::Record { refusal_of_action: None, answer: Answer::nothing_to_compensate() },
    );
}

#[test]
fn each_barrier_error_is_a_problem_with_the_status_that_the_engine_must_see() {
    let status = |error: BarrierError| Problem::from(error).status;
    let wrong = expect_op(&identity(Op::Action), Op::Compensation).unwrap_err();
    assert!(wrong.to_string().contains("s-1:reserve-stock:action"), "{wrong}");
    assert_eq!(status(wrong), Some(400));
    assert_eq!(status(BarrierError::unavailable("locked")), Some(503));
    assert_eq!(status(BarrierError::database("gone")), Some(500));
    assert_eq!(status(BarrierError::Business("no disk".into())), Some(500));
    assert_eq!(status(BarrierError::OutOfTime), Some(500));
    assert_eq!(status(BarrierError::Unanswered { identity: identity(Op::Action) }), Some(500));
}
