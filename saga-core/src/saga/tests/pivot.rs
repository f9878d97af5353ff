//! The pivot: the last step that may be refused.

use super::check;
use super::script::Script;

#[test]
fn a_pivot_rejected_at_its_first_attempt_turns_the_saga() {
    check("c1 p r1", "c1 p:go", "p:no", "p rejected, turned: p rejected");
}

#[test]
fn a_pivot_of_unknown_outcome_is_retried_and_then_stuck_but_never_turned() {
    let mut script = Script::short("c1 p");
    script.run("c1 p:go");
    script.expect("p:?", "p failed");
    script.run("due p:go");
    script.expect("p:?", "p failed spent, stuck: pivot_unknown p");
}

#[test]
fn a_pivot_rejected_in_doubt_makes_the_saga_stuck() {
    let given = "c1 p:go p:? due p:go";
    check("c1 p", given, "p:no", "p rejected, stuck: pivot_in_doubt p");
}

#[test]
fn a_pivot_rejected_for_good_after_doubt_turns_the_saga() {
    let given = "c1 p:go p:? due p:go";
    check("c1 p", given, "p:no!", "p rejected, turned: p rejected");
}

#[test]
fn a_pivot_whose_worker_was_lost_is_in_doubt() {
    let given = "c1 p:go lost p:go";
    check("c1 p", given, "p:no", "p rejected, stuck: pivot_in_doubt p");
}

#[test]
fn a_pivot_held_back_was_not_handed_out() {
    check("c1 p", "c1 p:hold", "cancel", "accepted cancel, turned: commanded");
}

#[test]
fn cancel_is_accepted_before_the_pivot_is_handed_out_and_refused_from_then_on() {
    check("c1 p r1", "c1", "cancel", "accepted cancel, turned: commanded");
    let mut script = Script::short("c1 p r1");
    script.run("c1");
    let steps = ["p:go", "p:?", "due p:go", "p:?", "retry", "p", "r1:go", "r1:no"];
    for word in steps {
        script.run(word);
        script.refuses("cancel", "step p was handed out, so the saga only goes forward");
        script.refuses("compensate", "stop is possible, or skip once it has failed");
    }
}

#[test]
fn without_a_pivot_the_first_retriable_step_handed_out_forbids_going_back() {
    let mut script = Script::of("c1 r1");
    script.run("c1 r1:go");
    script.refuses("cancel", "step r1 was handed out");
}

#[test]
fn a_pivot_in_doubt_taken_as_without_effect_turns_the_saga() {
    let mut script = Script::of("c1 p");
    script.run("c1 p:go p:? due p:go p:no");
    script.expect(
        "skip(p=no-effect)",
        "accepted skip p (taken as without effect), turned: p rejected",
    );
    script.run("-c1");
    assert_eq!(script.next(), "compensated");
}

#[test]
fn a_pivot_in_doubt_taken_as_processed_completes_the_saga() {
    let given = "c1 p:go p:? due p:go p:no";
    check("c1 p", given, "skip(p=processed)", "accepted skip p (taken as processed), completed");
}

#[test]
fn a_stuck_pivot_is_tried_again_with_a_fresh_budget() {
    let mut script = Script::short("c1 p");
    script.run("c1 p:go p:? due p:go p:?");
    script.expect("retry", "accepted retry");
    assert_eq!(script.next(), "call p");
    script.run("p:go p:? due p:go");
    script.expect("p:?", "p failed spent, stuck: pivot_unknown p");
    assert_eq!(script.ledger("p").attempts, 4);
}
