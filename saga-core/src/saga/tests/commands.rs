//! Operator commands: where they make sense, and how they are refused elsewhere.

use super::check;
use super::script::Script;
use crate::command::Refusal;
use crate::saga::{HandleError, Stimulus};

/// Every command, for a saga whose first step is `c1`.
const ALL: [&str; 9] = [
    "retry",
    "skip(c1=processed)",
    "skip(c1=no-effect)",
    "skip(c1=remains)",
    "compensate",
    "cancel",
    "pause",
    "resume",
    "stop",
];

/// Checks that exactly these of [`ALL`] are accepted in a saga of `shape` after `given`.
#[track_caller]
fn accepts(shape: &str, given: &str, expected: &[&str]) {
    let accepted = ALL.into_iter().filter(|word| {
        let mut script = Script::short(shape);
        script.run(given);
        match script.tell(word) {
            Ok(_) => true,
            Err(HandleError::Refused(refusal)) => {
                assert!(!refusal.to_string().is_empty());
                false
            }
            Err(HandleError::Illegal(illegal)) => panic!("{word} after {given}: {illegal}"),
        }
    });
    assert_eq!(accepted.collect::<Vec<_>>(), expected, "{shape} after {given:?}");
}

#[test]
fn each_command_is_accepted_where_it_makes_sense_and_nowhere_else() {
    let shape = "c1 c2 p r1";
    let turn = ["compensate", "cancel"];
    let rest = ["pause", "stop"];
    accepts(shape, "", &["skip(c1=processed)", turn[0], turn[1], rest[0], rest[1]]);
    accepts(shape, "c1:go", &[turn[0], turn[1], rest[0], rest[1]]);
    accepts(
        shape,
        "c1:go c1:?",
        &["retry", "skip(c1=processed)", "skip(c1=no-effect)", turn[0], turn[1], rest[0], rest[1]],
    );
    accepts(shape, "c1:hold", &["retry", "skip(c1=processed)", turn[0], turn[1], rest[0], rest[1]]);
    accepts(shape, "c1", &[turn[0], turn[1], rest[0], rest[1]]);
    accepts(shape, "c1 pause", &[turn[0], turn[1], "resume", "stop"]);
    accepts(shape, "c1 c2 p:go", &rest);
    accepts(shape, "c1 c2 p:go p:?", &["retry", rest[0], rest[1]]);
    accepts(shape, "c1 c2 p r1:go r1:no", &["retry", rest[0], rest[1]]);
    accepts(shape, "c1 c2:go cancel", &["skip(c1=remains)", "cancel", rest[0], rest[1]]);
    accepts(shape, "c1 cancel", &["skip(c1=remains)", "cancel", rest[0], rest[1]]);
    accepts(shape, "c1 cancel -c1:go", &["cancel", rest[0], rest[1]]);
    accepts(
        shape,
        "c1 cancel -c1:go -c1:?",
        &["retry", "skip(c1=remains)", "cancel", rest[0], rest[1]],
    );
    accepts(
        shape,
        "c1 cancel -c1:go -c1:no",
        &["retry", "skip(c1=remains)", "cancel", rest[0], rest[1]],
    );
    accepts(shape, "c1 cancel -c1", &[]);
    accepts(shape, "c1 stop", &[]);
}

#[test]
fn a_poisoned_saga_accepts_whatever_mends_it() {
    let mut script = Script::of("c1 c2");
    script.run("c1:go lost c1:go lost");
    assert_eq!(script.next(), "stuck: poison");
    for word in
        ["retry", "skip(c1=processed)", "skip(c1=no-effect)", "compensate", "cancel", "stop"]
    {
        let mut script = script.clone();
        script.run(word);
        assert_ne!(script.next(), "stuck: poison", "{word} mends it");
    }
    script.run("retry c1:go lost");
    assert_eq!(script.next(), "call c1", "a retry forgets the losses before it");
}

#[test]
fn refusals_explain_themselves() {
    let mut script = Script::of("c1 c2 p r1");
    script.refuses("retry", "nothing is waiting to be retried");
    script.refuses("resume", "the saga is not paused");
    script.refuses(
        "skip(nobody=processed)",
        r#"there is no step "nobody": the steps are ["c1", "c2", "p", "r1"]"#,
    );
    script.refuses(
        "skip(c2=processed)",
        "step c2 is pending: only a pending or failed step whose turn it is",
    );
    script.refuses(
        "skip(c1=no-effect)",
        "step c1 is pending: only a failed step can be taken as without effect",
    );
    script.refuses("skip(c1=remains)", "a compensation is settled only in backward recovery");
    script.run("c1:go");
    script.refuses(
        "skip(c1=processed)",
        "step c1 is received, and a call is in flight: wait for its answer",
    );
    script.run("c1:ok pause");
    script.refuses("pause", "the saga is paused already");
    script.run("cancel");
    script.refuses("skip(c1=processed)", "where only a compensation can be left out");
    script.refuses("skip(c2=remains)", "step c2 is pending: it has no effect left to compensate");
    script.refuses("compensate", "the saga is in backward recovery already: retry or skip");
    script.run("stop");
    script.refuses(
        "retry",
        "the saga has ended (stopped, effects that remain: c1): a verdict is final",
    );
}

#[test]
fn a_retriable_step_cannot_be_taken_as_without_effect() {
    let mut script = Script::of("c1 p r1");
    script.run("c1 p r1:go r1:no");
    script.refuses("skip(r1=no-effect)", "a retriable step has to happen");
    script.expect("skip(r1=processed)", "accepted skip r1 (taken as processed), completed");
}

#[test]
fn a_command_without_actor_or_reason_is_refused() {
    for (actor, reason, field) in
        [("", "because", "actor"), ("ada", " \n", "reason"), ("ada", &"x".repeat(1_025), "reason")]
    {
        let mut script = Script::of("c1");
        let mut command = script.command("stop");
        (command.actor, command.reason) = (actor.to_owned(), reason.to_owned());
        let refused = script.send(Stimulus::Command(command)).expect_err("a field is missing");
        let bytes = if field == "actor" { actor.len() } else { reason.len() };
        assert_eq!(refused, HandleError::Refused(Refusal::Field { field, bytes }));
        assert!(refused.to_string().contains("expected 1 to 1024 bytes"), "{refused}");
    }
}

#[test]
fn a_command_for_another_position_of_the_log_than_the_present_one_is_refused() {
    let mut script = Script::of("c1");
    script.run("c1:go");
    let mut command = script.command("pause");
    let seq = script.saga.head().seq;
    command.expected_seq = Some(seq + 1);
    let refused = script.send(Stimulus::Command(command.clone())).expect_err("it stands elsewhere");
    assert_eq!(refused, HandleError::Refused(Refusal::MovedOn { expected: seq + 1, seq }));
    command.expected_seq = Some(seq);
    script.send(Stimulus::Command(command)).expect("it stands there");
}

#[test]
fn a_command_is_idempotent_by_its_request_id_even_after_the_end() {
    let mut script = Script::of("c1 c2");
    script.run("c1");
    let pause = script.command("pause");
    script.send(Stimulus::Command(pause.clone())).expect("it is running");
    script.run("resume");
    let again = script.send(Stimulus::Command(pause.clone()));
    assert_eq!(again, Ok(Vec::new()), "the repetition is accepted and does nothing");
    assert_eq!(script.next(), "call c2");
    script.run("stop");
    assert_eq!(script.send(Stimulus::Command(pause.clone())), Ok(Vec::new()));
    assert!(script.saga.has_accepted(&pause.request_id));
}

#[test]
fn a_refused_command_leaves_its_request_id_free() {
    let mut script = Script::of("c1");
    let retry = script.command("retry");
    script.send(Stimulus::Command(retry.clone())).expect_err("nothing to retry");
    script.run("c1:go c1:?");
    let events = script.send(Stimulus::Command(retry)).expect("now there is");
    assert_eq!(script.words(&events), "accepted retry");
}

#[test]
fn a_paused_saga_takes_answers_but_hands_nothing_out() {
    let mut script = Script::of("c1 c2");
    script.run("c1:go pause");
    assert_eq!(script.next(), "in flight");
    script.expect("c1:ok", "c1 processed");
    assert_eq!(script.next(), "paused");
    script.refuses("c2:go", "stuck or paused");
    script.run("resume");
    assert_eq!(script.next(), "call c2");
}

#[test]
fn a_saga_paused_during_its_last_call_still_ends() {
    check("c1", "c1:go pause", "c1:ok", "c1 processed, completed");
}

#[test]
fn a_call_held_back_just_after_a_pause_changes_nothing_of_it() {
    let mut script = Script::of("c1");
    script.run("pause");
    script.expect("c1:hold", "c1 held");
    assert_eq!(script.next(), "paused");
    script.run("resume");
    assert_eq!(script.next(), "wait 30000 ms");
}

#[test]
fn a_stuck_saga_that_is_paused_too_says_that_it_is_stuck() {
    let mut script = Script::of("c1 p r1");
    script.run("c1 p r1:go r1:no pause");
    assert_eq!(script.next(), "stuck: retriable_rejected r1");
    script.run("retry");
    assert_eq!(script.next(), "paused");
}

#[test]
fn retry_brings_a_waiting_attempt_forward() {
    let mut script = Script::of("c1");
    script.run("c1:go c1:later");
    assert_eq!(script.next(), "wait 30000 ms");
    script.expect("retry", "accepted retry");
    assert_eq!(script.next(), "call c1");
}

#[test]
fn skipping_a_step_as_processed_gives_its_assumed_output_and_goes_on() {
    let mut script = Script::of("c1 c2");
    script.expect("skip(c1=processed)", "accepted skip c1 (taken as processed)");
    assert!(script.ledger("c1").output.is_some());
    assert_eq!(script.next(), "call c2");
    script.run("cancel");
    assert_eq!(script.next(), "call -c1", "what is taken as processed has to be compensated");
}

#[test]
fn skipping_a_failed_step_as_without_effect_compensates_the_earlier_ones_only() {
    let mut script = Script::of("c1 c2");
    script.run("c1 c2:go c2:?");
    script.expect(
        "skip(c2=no-effect)",
        "accepted skip c2 (taken as without effect), turned: c2 spent",
    );
    assert_eq!(script.next(), "call -c1");
}

#[test]
fn an_effect_left_behind_is_in_the_verdict() {
    let mut script = Script::of("c1 c2 c3");
    script.run("c1 c2 c3:go c3:no -c2:go -c2:no");
    script.expect("skip(c2=remains)", "accepted skip c2 (its effect remains)");
    assert_eq!(script.next(), "call -c1");
    script.expect("-c1", "-c1 received 1, -c1 compensated, stopped c2!");
}

#[test]
fn an_effect_left_behind_is_not_taken_up_again_by_retry() {
    let mut script = Script::of("c1+c2 c3");
    script.run("c1 c2 c3:go c3:no -c1:go -c1:no skip(c1=remains) -c2:go -c2:no");
    script.run("retry");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn stop_lists_what_is_present_and_what_may_be() {
    let mut script = Script::of("c1 c2+c3 p r1");
    script.run("c1 c2 c3:go");
    script.expect("stop", "accepted stop, stopped c1! c2! c3?");
    assert_eq!(script.next(), "stopped c1! c2! c3?");
    script.refuses("c3:ok", "the saga has ended");
}

#[test]
fn stop_computes_the_verdict_like_everything_else() {
    check("c1 c2", "", "stop", "accepted stop, compensated");
    check("c1 c2", "c1:go c1:no! ", "tick", "");
    check("c1 c2", "c1 cancel -c1:hold", "stop", "accepted stop, stopped c1!");
    check("c1 p r1", "c1 p r1:go r1:no", "stop", "accepted stop, stopped c1! p!");
}

#[test]
fn a_saga_that_turned_backward_is_never_completed_however_it_ends() {
    let given = "c1 c2:go cancel c2:ok";
    check("c1 c2", given, "stop", "accepted stop, stopped c1! c2!");
    check(
        "c1 c2",
        given,
        "skip(c2=remains) skip(c1=remains)",
        "accepted skip c2 (its effect remains), accepted skip c1 (its effect remains), stopped c1! c2!",
    );
    check(
        "c1 c2",
        given,
        "skip(c2=remains) -c1",
        "accepted skip c2 (its effect remains), -c1 received 1, -c1 compensated, stopped c2!",
    );
    check(
        "c1 c2",
        given,
        "skip(c2=compensated) skip(c1=compensated)",
        "accepted skip c2 (taken as compensated), accepted skip c1 (taken as compensated), compensated",
    );
    check(
        "c1 c2",
        given,
        "-c2:go -c2:no skip(c2=remains) -c1:hold stop",
        "-c2 received 1, -c2 failed spent, stuck: compensation_spent c2, accepted skip c2 (its effect remains), -c1 held, accepted stop, stopped c1! c2!",
    );
    check("c1", "c1:go cancel", "c1:ok stop", "c1 processed, accepted stop, stopped c1!");
    check("c1", "c1:go cancel", "c1:no", "c1 rejected, compensated");
    // Forward, nothing is left to an operator: the last answer ends it.
    check("c1 c2", "c1 c2:go", "c2:ok", "c2 processed, completed");
    check(
        "c1",
        "c1:go c1:?",
        "skip(c1=processed)",
        "accepted skip c1 (taken as processed), completed",
    );
    check("c1", "c1:go pause", "c1:ok", "c1 processed, completed");
}

#[test]
fn a_saga_that_turned_at_its_deadline_is_never_completed() {
    let mut script = Script::with_deadline("c1", 500);
    script.run("c1:go +600 tick c1:ok");
    script.expect("stop", "accepted stop, stopped c1!");
}

#[test]
fn cancelling_twice_is_accepted_and_changes_nothing_more() {
    check("c1 c2", "c1 cancel", "cancel", "accepted cancel");
}

#[test]
fn a_stuck_saga_before_its_pivot_can_be_compensated() {
    let given = "c1 c2:go lost c2:go lost";
    let mut script = Script::of("c1 c2");
    script.run(given);
    script.expect("compensate", "accepted compensate, turned: commanded");
    assert_eq!(script.next(), "call -c2");
}

#[test]
fn what_a_person_undid_by_hand_counts_as_compensated() {
    let mut script = Script::of("c1 p");
    script.run("c1 p:go p:no! -c1:go -c1:no");
    assert_eq!(script.next(), "stuck: compensation_spent c1");
    script.run("skip(c1=compensated)");
    assert_eq!(script.next(), "compensated");
}
