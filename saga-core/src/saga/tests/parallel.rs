//! Parallel groups.

use super::script::{Script, attempts, spec};

#[test]
fn the_steps_of_a_group_are_handed_out_together_and_the_next_stage_waits_for_all() {
    let mut script = Script::of("c1+c2 p");
    assert_eq!(script.next(), "call c1 c2");
    script.run("c1:go");
    assert_eq!(script.next(), "call c2");
    script.run("c2:go c2:ok");
    assert_eq!(script.next(), "in flight");
    script.refuses("p:go", "not the turn of its action");
    script.run("c1:ok");
    assert_eq!(script.next(), "call p");
}

#[test]
fn a_rejection_turns_the_saga_while_siblings_are_in_flight_and_they_are_waited_for() {
    let mut script = Script::of("c1+c2+c3");
    script.run("c1:go c2:go c3:go c1:ok");
    script.expect("c2:no", "c2 rejected, turned: c2 rejected");
    assert_eq!(script.next(), "in flight");
    script.expect("c3:?", "c3 failed spent");
    assert_eq!(script.next(), "call -c1 -c3");
}

#[test]
fn a_sibling_that_waits_for_its_retry_when_the_saga_turns_is_not_tried_again() {
    let mut script = Script::of("c1+c2");
    script.run("c1:go c2:go c1:?");
    script.expect("c2:no", "c2 rejected, turned: c2 rejected");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_sibling_that_was_never_handed_out_when_the_saga_turns_has_nothing_to_compensate() {
    let mut script = Script::of("c1+c2");
    script.run("c1:go c2:hold");
    script.expect("c1:no", "c1 rejected, turned: c1 rejected, compensated");
}

#[test]
fn groups_compensate_in_parallel_and_stages_in_reverse() {
    let mut script = Script::of("c1+c2 c3+c4 c5");
    script.run("c1 c2 c3 c4 c5:go c5:no");
    assert_eq!(script.next(), "call -c3 -c4");
    script.run("-c3:go -c4:go -c4:ok");
    script.refuses("-c1:go", "not the turn of its compensation");
    script.run("-c3:ok");
    assert_eq!(script.next(), "call -c1 -c2");
    script.expect(
        "-c2 -c1",
        "-c2 received 1, -c2 compensated, -c1 received 1, -c1 compensated, compensated",
    );
}

#[test]
fn an_earlier_stage_waits_until_every_compensation_of_the_later_one_has_succeeded() {
    let mut script = Script::short("c1 c2+c3 c4");
    script.run("c1 c2 c3 c4:go c4:no -c2:go -c3 -c2:?");
    script.refuses("-c1:go", "not the turn of its compensation");
    script.run("due");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn a_rejected_compensation_is_stuck_only_when_its_siblings_have_come_to_rest() {
    let mut script = Script::of("c1+c2 c3");
    script.run("c1 c2 c3:go c3:no -c1:go -c2:go");
    script.expect("-c1:no", "-c1 failed spent");
    assert_eq!(script.next(), "in flight");
    script.expect("-c2:?", "-c2 failed");
    script.run("due -c2:go");
    script.expect("-c2:ok", "-c2 compensated, stuck: compensation_spent c1");
}

#[test]
fn cancel_while_a_group_is_in_flight_waits_for_every_answer() {
    let mut script = Script::of("c1+c2 p");
    script.run("c1:go c2:go");
    script.expect("cancel", "accepted cancel, turned: commanded");
    script.run("c1:ok");
    assert_eq!(script.next(), "in flight");
    script.run("c2:no");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_worker_lost_with_a_group_in_flight_leaves_every_one_of_its_calls_unknown() {
    let mut script = Script::of("c1+c2+c3");
    script.run("c1:go c2:go c3:go c3:ok");
    script.expect("lost", "lost, c1 failed, c2 failed");
    assert_eq!(script.next(), "call c1 c2");
}

#[test]
fn one_retriable_step_rejected_lets_its_siblings_finish_before_the_saga_is_stuck() {
    let mut script = Script::of("r1+r2");
    script.run("r1:go r2:go r1:?");
    script.expect("r2:no", "r2 rejected");
    script.run("due r1:go");
    script.expect("r1:ok", "r1 processed, stuck: retriable_rejected r2");
}

#[test]
fn a_spent_step_can_be_retried_while_its_sibling_is_in_flight() {
    let mut script = Script::of("r1+r2");
    script.run("r1:go r2:go r1:no");
    script.expect("retry", "accepted retry");
    assert_eq!(script.next(), "call r1");
}

#[test]
fn skipping_one_of_two_stuck_siblings_leaves_the_other_one_to_blame() {
    let mut script = Script::of("r1+r2 r3");
    script.run("r1:go r2:go r1:no r2:no");
    assert_eq!(script.next(), "stuck: retriable_rejected r1");
    let expected = "accepted skip r1 (taken as processed), stuck: retriable_rejected r2";
    script.expect("skip(r1=processed)", expected);
    script.expect("skip(r2=processed)", "accepted skip r2 (taken as processed)");
    assert_eq!(script.next(), "call r3");
}

#[test]
fn retry_makes_waiting_siblings_due_at_once() {
    let mut script = Script::of("r1+r2");
    script.run("r1:go r2:go r1:later r2:no");
    assert_eq!(script.next(), "wait 30000 ms");
    script.run("retry");
    assert_eq!(script.next(), "call r1 r2");
}

#[test]
fn a_sibling_can_wait_while_another_is_in_flight_and_its_moment_is_known() {
    let mut script = Script::start(attempts(spec("c1+c2"), 2));
    script.run("c1:go c2:go c1:?");
    assert_eq!(script.next(), "in flight");
    assert!(script.saga.wake_at().is_some(), "the retry of c1");
    script.run("due");
    assert_eq!(script.next(), "call c1");
}

#[test]
fn a_sibling_held_back_does_not_hold_the_others() {
    let mut script = Script::of("c1+c2");
    script.run("c1:hold");
    assert_eq!(script.next(), "call c2");
}
