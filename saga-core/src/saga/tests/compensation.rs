//! Backward recovery.

use super::check;
use super::script::{Script, attempts, spec};
use crate::policy::retry::RetryPolicy;
use crate::saga::StepState;
use crate::verdict::Effect;

#[test]
fn a_compensation_that_fails_is_tried_again() {
    let mut script = Script::short("c1");
    script.run("c1:go cancel c1:ok -c1:go");
    script.expect("-c1:?", "-c1 failed");
    assert_eq!(script.ledger("c1").state, StepState::CompensationFailed);
    script.expect("due -c1", "-c1 received 2, -c1 compensated, compensated");
}

#[test]
fn a_compensation_whose_budget_is_spent_makes_the_saga_stuck() {
    let mut script = Script::short("c1 c2");
    script.run("c1 cancel -c1:go -c1:? due -c1:go");
    script.expect("-c1:?", "-c1 failed spent, stuck: compensation_spent c1");
}

#[test]
fn a_compensation_keeps_trying_twenty_times_by_default() {
    let mut script = Script::of("c1 c2");
    script.run("c1 cancel");
    for attempt in 1..20 {
        script.expect("-c1:go -c1:?", &format!("-c1 received {attempt}, -c1 failed"));
        script.run("due");
    }
    script
        .expect("-c1:go -c1:?", "-c1 received 20, -c1 failed spent, stuck: compensation_spent c1");
}

#[test]
fn a_rejected_compensation_makes_the_saga_stuck_at_once() {
    let given = "c1 c2:go c2:no -c1:go";
    check("c1 c2", given, "-c1:no", "-c1 failed spent, stuck: compensation_spent c1");
}

#[test]
fn a_compensation_has_a_budget_of_its_own() {
    let mut spec = attempts(spec("c1"), 3);
    spec.steps[0].compensation_retry = RetryPolicy::new(1, std::time::Duration::ZERO);
    let mut script = Script::start(spec);
    script.run("c1:go c1:? due c1:go c1:? due c1:go c1:? -c1:go");
    script.expect("-c1:?", "-c1 failed spent, stuck: compensation_spent c1");
}

#[test]
fn a_stuck_compensation_is_tried_again_on_retry() {
    let mut script = Script::short("c1 c2");
    script.run("c1 cancel -c1:go -c1:no");
    script.expect("retry", "accepted retry");
    script.expect("-c1", "-c1 received 2, -c1 compensated, compensated");
}

#[test]
fn a_compensation_whose_worker_was_lost_is_made_again() {
    let mut script = Script::of("c1 c2");
    script.run("c1 cancel -c1:go");
    script.expect("lost", "lost, -c1 failed");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn an_action_lost_in_backward_recovery_is_not_retried_but_compensated() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel");
    script.expect("lost", "lost, c2 failed spent");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn no_step_is_compensated_while_an_action_is_in_flight() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel");
    assert_eq!(script.next(), "in flight");
    script.refuses("-c1:go", "not the turn of its compensation");
    script.refuses("-c2:go", "not the turn of its compensation");
    script.run("c2:ok");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn an_action_rejected_in_backward_recovery_needs_no_compensation() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel c2:no");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_compensation_in_flight_leaves_it_unknown_whether_the_effect_is_still_there() {
    let mut script = Script::of("c1 c2");
    script.run("c1 cancel");
    assert_eq!(script.ledger("c1").effect(), Effect::Present);
    script.run("-c1:go");
    assert_eq!(script.ledger("c1").effect(), Effect::Unknown);
    script.run("-c1:?");
    assert_eq!(script.ledger("c1").effect(), Effect::Unknown);
    script.expect("stop", "accepted stop, stopped c1?");
}

#[test]
fn a_compensation_rejected_at_its_first_attempt_leaves_the_effect_in_place_for_certain() {
    let mut script = Script::of("c1 c2");
    script.run("c1 cancel -c1:go -c1:no");
    assert_eq!(script.ledger("c1").effect(), Effect::Present);
    script.expect("stop", "accepted stop, stopped c1!");
}

#[test]
fn a_compensation_rejected_after_an_unknown_attempt_leaves_doubt_unless_it_is_for_good() {
    let given = "c1 cancel -c1:go -c1:? due -c1:go";
    for (answer, effect) in [("-c1:no", Effect::Unknown), ("-c1:no!", Effect::Present)] {
        let mut script = Script::of("c1 c2");
        script.run(given);
        script.run(answer);
        assert_eq!(script.ledger("c1").effect(), effect, "{answer}");
    }
}

#[test]
fn stopping_while_a_compensation_is_in_flight_is_never_called_completed() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go cancel c2:ok -c2:go");
    script.expect("stop", "accepted stop, stopped c1! c2?");
}

#[test]
fn the_compensation_of_an_unknown_action_does_not_make_its_effect_certain() {
    let mut script = Script::short("c1");
    script.run("c1:go c1:? due c1:go c1:? -c1:go -c1:no");
    assert_eq!(script.ledger("c1").effect(), Effect::Unknown);
    script.expect("stop", "accepted stop, stopped c1?");
}
