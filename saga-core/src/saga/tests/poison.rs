//! Sagas that kill their workers, and sagas that never come to an end.

use super::script::Script;
use crate::event::{Event, StuckReason};
use crate::log::LOG_TRANSITIONS_MAX;
use crate::saga::Stimulus;

#[test]
fn a_saga_that_loses_worker_after_worker_is_poison() {
    let mut script = Script::of("c1 c2");
    script.run("c1:go");
    script.expect("lost", "lost, c1 failed");
    script.run("due c1:go");
    script.expect("lost", "lost, c1 failed, stuck: poison");
}

#[test]
fn an_answer_from_a_participant_forgets_the_losses() {
    for (answer, next) in [("c1:ok", "c2"), ("c1:no", "-c1"), ("c1:no!", "-c0")] {
        let mut script = Script::of("c0 c1 c2");
        script.run("c0 c1:go lost c1:go");
        script.run(answer);
        script.run(&format!("{next}:go lost"));
        assert_eq!(script.next(), format!("call {next}"), "after {answer}");
    }
    let mut script = Script::of("c0 c1 c2");
    script.run("c0 c1 cancel -c1:go lost -c1 -c0:go lost");
    assert_eq!(script.next(), "call -c0");
}

#[test]
fn the_first_lost_worker_is_no_reason_to_wait_but_the_second_in_a_row_is() {
    let mut script = Script::of("c1");
    let lost = || Stimulus::WorkerLost { losses_max: 5 };
    script.run("c1:go");
    script.send(lost()).expect("it is alive");
    assert_eq!(script.next(), "call c1");
    script.run("c1:go");
    script.send(lost()).expect("it is alive");
    assert!(script.next().starts_with("wait"), "{}", script.next());
}

#[test]
fn attempts_spent_by_losses_turn_the_saga_and_its_compensations_get_their_own_chance() {
    let mut script = Script::short("c1 c2");
    script.run("c1 c2:go lost c2:go");
    script.expect("lost", "lost, c2 failed spent, turned: c2 spent");
    script.run("-c2:go");
    script.expect("lost", "lost, -c2 failed");
    assert_eq!(script.next(), "call -c2");
    script.run("-c2:go");
    let spent = "lost, -c2 failed spent, stuck: compensation_spent c2";
    script.expect("lost", spent);
}

#[test]
fn a_pivot_that_kills_its_workers_says_first_of_all_that_its_outcome_is_unknown() {
    let mut script = Script::short("c1 p");
    script.run("c1 p:go lost p:go");
    script.expect("lost", "lost, p failed spent, stuck: pivot_unknown p");
}

#[test]
fn poison_is_not_undone_by_the_passing_of_time() {
    let mut script = Script::of("c1");
    script.run("c1:go lost c1:go lost");
    script.expect("+100000 tick", "");
    assert_eq!(script.next(), "stuck: poison");
    assert_eq!(script.saga.wake_at(), None);
    script.refuses("c1:go", "stuck or paused");
}

#[test]
fn a_later_reason_replaces_an_earlier_one() {
    let mut script = Script::of("c1 p r1");
    script.run("c1 p r1:go r1:no");
    let reason = StuckReason::Poison { losses: 9 };
    script.saga.apply(script.now, &Event::SagaStuck { reason }).expect("it replaces the first");
    assert_eq!(script.next(), "stuck: poison");
}

/// A saga that has come to the last row but `rows` before its log counts as full.
fn nearly_full(shape: &str, given: &str, rows: u64) -> Script {
    let mut script = Script::of(shape);
    script.run(given);
    script.saga.head.seq = LOG_TRANSITIONS_MAX - 1 - rows;
    script
}

#[test]
fn a_full_log_makes_the_saga_stuck_and_leaves_only_stop() {
    let mut script = nearly_full("c1 c2", "c1:go", 0);
    let events = script.run("c1:ok");
    assert_eq!(script.words(&events), "c1 processed, stuck: log_full");
    for word in ["retry", "pause", "cancel", "skip(c1=remains)"] {
        script.refuses(word, "the log of the saga is full: it can only be stopped");
        assert_eq!(script.next(), "stuck: log_full");
    }
    script.run("stop");
    assert_eq!(script.next(), "stopped c1!");
}

#[test]
fn a_saga_that_ends_at_the_limit_of_its_log_ends() {
    let mut script = nearly_full("c1", "c1:go", 0);
    let events = script.run("c1:ok");
    assert_eq!(script.words(&events), "c1 processed, completed");
}

#[test]
fn a_whole_group_can_be_handed_out_at_the_limit_of_its_log() {
    let mut script = nearly_full("c1+c2+c3", "", 0);
    let events = script.run("c1:go c2:hold c3:go");
    assert_eq!(script.words(&events), "c1 received 1, c2 held, c3 received 1");
    let events = script.run("c1:ok");
    assert_eq!(script.words(&events), "c1 processed, stuck: log_full");
    assert_eq!(script.next(), "in flight");
    let events = script.run("c3:ok");
    assert_eq!(script.words(&events), "c3 processed");
    assert_eq!(script.next(), "stuck: log_full");
}

#[test]
fn a_saga_stuck_with_a_full_log_is_not_turned_by_an_answer() {
    let mut script = nearly_full("c1+c2", "c1:go c2:go", 0);
    script.run("c1:ok");
    let events = script.run("c2:no");
    assert_eq!(script.words(&events), "c2 rejected");
    assert_eq!(script.next(), "stuck: log_full");
}
