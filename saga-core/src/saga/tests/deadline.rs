//! The deadline of a saga.

use super::script::Script;

#[test]
fn a_deadline_passed_before_the_pivot_turns_the_saga() {
    let mut script = Script::with_deadline("c1 p", 10_000);
    script.run("c1 p:hold");
    assert_eq!(script.next(), "wait 10000 ms");
    script.expect("due", "turned: deadline");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_deadline_passed_after_the_pivot_was_handed_out_changes_nothing() {
    let mut script = Script::with_deadline("c1 p r1", 10_000);
    script.run("c1 p:go");
    script.expect("+20000 tick", "");
    script.expect("p:?", "p failed");
    script.expect("+60000 p", "p received 2, p processed");
    script.expect("r1", "r1 received 1, r1 processed, completed");
}

#[test]
fn nothing_is_handed_out_past_the_deadline_least_of_all_the_pivot() {
    let mut script = Script::with_deadline("c1 p", 10_000);
    script.run("c1");
    assert_eq!(script.next(), "call p");
    script.run("+10000");
    assert_eq!(script.next(), "wait 0 ms", "the clock has to be told first");
    script.expect("tick", "turned: deadline");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_call_in_flight_at_the_deadline_is_waited_for_and_then_compensated() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1 c2:go +10000");
    script.expect("tick", "turned: deadline");
    assert_eq!(script.next(), "in flight");
    script.expect("c2:?", "c2 failed spent");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn an_answer_that_comes_past_the_deadline_turns_the_saga_without_a_tick() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1:go +10000");
    script.expect("c1:ok", "c1 processed, turned: deadline");
}

#[test]
fn a_worker_lost_past_the_deadline_turns_the_saga() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1:go +10000");
    script.expect("lost", "lost, c1 failed, turned: deadline");
}

#[test]
fn the_deadline_of_a_pivot_that_was_refused_and_settled_plays_no_part() {
    let mut script = Script::with_deadline("c1 p", 10_000);
    script.run("c1 p:go p:no +10000");
    script.expect("tick", "");
}

#[test]
fn a_paused_saga_is_turned_by_its_deadline_but_moves_only_when_resumed() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1 pause +10000");
    script.expect("tick", "turned: deadline");
    assert_eq!(script.next(), "paused");
    script.run("resume");
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn a_stuck_saga_is_turned_by_no_deadline_until_a_person_has_mended_it() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1 c2:go lost c2:go lost");
    assert_eq!(script.next(), "stuck: poison");
    script.expect("+10000 tick", "");
    script.expect("pause", "accepted pause");
    script.expect("resume", "accepted resume");
    assert_eq!(script.next(), "stuck: poison");
    script.expect("retry", "accepted retry, turned: deadline");
}

#[test]
fn a_deadline_ahead_is_when_the_saga_wakes_at_the_latest() {
    let mut script = Script::with_deadline("c1 c2", 10_000);
    script.run("c1:hold");
    assert_eq!(script.next(), "wait 10000 ms", "not the 30 s of the breaker");
    assert_eq!(script.saga.deadline_ahead(), script.saga.wake_at());
}
