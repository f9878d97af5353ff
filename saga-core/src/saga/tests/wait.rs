//! What a live saga waits for, in data and in words.

use super::script::Script;
use crate::saga::{Status, WaitReason};
use crate::view::SagaView;

#[track_caller]
fn waits(script: &Script, expected: &str) -> WaitReason {
    let reason = script.saga.wait(script.now).expect("it is alive");
    assert!(reason.to_string().contains(expected), "{reason}");
    reason
}

#[test]
fn each_reason_to_wait_has_its_words() {
    let mut script = Script::of("c1 p r1");
    waits(&script, "ready since 1970-01-01T00:00:01.000Z, waiting for a worker");
    script.run("c1:go");
    waits(&script, "action of c1 in flight since 1970-01-01T00:00:01.000Z (attempt 1)");
    script.run("c1:?");
    waits(&script, "attempt 2 of the action of c1 at 1970");
    waits(&script, "last: outcome unknown (error): who knows");
    script.run("due c1:hold");
    waits(&script, "breaker of service-of-c1 is open: c1 asks again at 1970");
    script.run("due c1 pause");
    waits(&script, "paused by ada: because");
    script.run("resume p r1:go r1:no");
    waits(
        &script,
        "stuck: retriable step r1 was rejected, which it must not be: retry, skip or stop",
    );
    script.run("skip(r1=processed)");
    assert_eq!(script.saga.wait(script.now), None);
}

#[test]
fn compensations_are_named_as_such() {
    let mut script = Script::of("c1 c2");
    script.run("c1 cancel -c1:go");
    waits(&script, "compensation of c1 in flight since");
    script.run("-c1:?");
    waits(&script, "attempt 2 of the compensation of c1 at");
}

#[test]
fn a_retry_waited_for_is_named_even_when_the_deadline_comes_first() {
    let mut script = Script::with_deadline("c1 p", 1_000);
    script.run("c1:go c1:later");
    let reason = waits(&script, "attempt 2 of the action of c1 at");
    assert!(
        matches!(reason, WaitReason::Retry { at, .. } if Some(at) == script.ledger("c1").wake_at)
    );
    script.run("+1000");
    waits(&script, "ready since 1970-01-01T00:00:02.000Z, waiting for a worker");
}

#[test]
fn of_several_waits_the_one_that_ends_first_is_named() {
    let mut script = Script::of("c1+c2");
    script.run("c1:hold c2:go c2:?");
    waits(&script, "attempt 2 of the action of c2");
    script.run("due c2:hold +26000");
    waits(&script, "breaker of service-of-c1");
}

#[test]
fn the_ways_out_that_a_stuck_saga_names_are_open() {
    let stories = [
        ("c1 p r1", "c1 p:go p:? due p:go p:?", "p"),
        ("c1 p r1", "c1 p:go p:? due p:go p:no", "p"),
        ("c1 p r1", "c1 p r1:go r1:? due r1:go r1:?", "r1"),
        ("c1 p r1", "c1 p r1:go r1:no", "r1"),
        ("c1 c2", "c1 cancel -c1:go -c1:no", "c1"),
    ];
    for (shape, given, step) in stories {
        let mut script = Script::short(shape);
        script.run(given);
        assert_eq!(script.saga.status(), Status::Stuck);
        let words = waits(&script, step).to_string();
        let exits = [
            ("retry", "retry".to_owned()),
            ("processed or no effect", format!("skip({step}=no-effect)")),
            ("its effect remains", format!("skip({step}=remains)")),
            ("retry, skip", format!("skip({step}=processed)")),
            ("stop", "stop".to_owned()),
        ];
        for (named, exit) in exits {
            // Where a compensation is stuck, skipping means leaving its effect behind.
            let meant =
                words.contains(named) && !(shape == "c1 c2" && exit.ends_with("=processed)"));
            let mut script = script.clone();
            assert!(
                !meant || script.tell(&exit).is_ok(),
                "{exit} is refused, but the words say {words}"
            );
        }
    }
}

#[test]
fn a_view_shows_the_saga_at_its_log_position() {
    let mut script = Script::of("c1 p");
    script.run("c1 p:go");
    let view = SagaView::of(&script.saga, script.now);
    assert_eq!((view.seq, view.status, view.ended_at), (4, Status::Running, None));
    assert_eq!(view.steps[0].state.as_str(), "processed");
    assert_eq!(view.steps[0].output.as_ref().map(|output| output.as_json()), Some("0"));
    assert_eq!((view.steps[1].attempts, view.steps[1].ended_at), (1, None));
    let json = serde_json::to_value(&view).expect("a view is JSON");
    assert_eq!(json["wait"]["reason"], "in_flight");
    assert!(
        json["wait"]["text"].as_str().is_some_and(|text| text.contains("action of p in flight"))
    );
    assert_eq!(serde_json::from_value::<SagaView>(json).expect("and back"), view);
    script.run("p:ok");
    let view = SagaView::of(&script.saga, script.now);
    assert_eq!(
        (view.status, view.ended_at, view.wait),
        (Status::Completed, Some(script.now), None)
    );
}

#[test]
fn every_status_reads_back_from_its_word() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
        assert_eq!(status.to_string(), status.as_str());
        let json = format!("\"{status}\"");
        assert_eq!(serde_json::to_string(&status).expect("a word"), json);
    }
    assert_eq!(Status::parse("zombie"), None);
}
