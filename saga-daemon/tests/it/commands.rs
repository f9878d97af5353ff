//! Operator commands.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, World};

async fn command(
    world: &World,
    id: &str,
    verb: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    let mut request = world.api.request(Method::POST, &format!("/v1/sagas/{id}/{verb}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.api.send(request.json(&body)).await
}

#[tokio::test]
async fn a_stuck_saga_is_skipped_to_its_verdict_and_the_log_says_who_and_why() {
    let world = World::new().await;
    let id = world.start(1, "broken").await;
    let stuck = world.until(&id, "stuck").await;
    assert_eq!(stuck.body["wait"]["reason"], "stuck");
    let skip = json!({
        "reason": "the bank confirmed by telephone", "actor": "alice",
        "step": "pay", "assume": { "processed": null },
    });
    let skipped = command(&world, &id, "skip", &[("Idempotency-Key", "call-1")], skip).await;
    assert_eq!(skipped.status, 200, "{}", skipped.raw);
    assert_eq!(skipped.body["request_id"], "call-1");
    assert_eq!(skipped.body["carried_out"], true);
    world.until(&id, "completed").await;
    let log = world.api.get(&format!("/v1/sagas/{id}/log")).await.raw;
    assert!(log.contains("by alice: the bank confirmed by telephone"), "{log}");
}

#[tokio::test]
async fn a_command_repeated_under_its_request_id_has_no_further_effect() {
    let world = World::new().await;
    let id = world.start(1, "broken").await;
    let stuck = world.until(&id, "stuck").await;
    let tag = stuck.header("etag");
    let headers = [("Idempotency-Key", "stop-1"), ("If-Match", tag.as_str())];
    let first = command(&world, &id, "stop", &headers, json!({ "reason": "given up" })).await;
    let again = command(&world, &id, "stop", &headers, json!({ "reason": "given up" })).await;
    assert_eq!((first.status, again.status), (200, 200), "{}", again.raw);
    assert_eq!(again.body, first.body);
    assert_eq!(first.body["saga"]["verdict"]["outcome"], "stopped");
    assert_eq!(first.body["saga"]["verdict"]["remaining"][0]["step"], "reserve");
    let other = command(&world, &id, "stop", &headers[..1], json!({ "reason": "another" })).await;
    assert_eq!(other.problem(), "key-conflict");
}

#[tokio::test]
async fn a_command_on_another_state_than_the_operator_saw_is_refused_with_the_present_one() {
    let world = World::new().await;
    let id = world.start(1, "broken").await;
    let stuck = world.until(&id, "stuck").await;
    let stale =
        command(&world, &id, "stop", &[("If-Match", "\"1\"")], json!({ "reason": "x" })).await;
    assert_eq!((stale.status, stale.problem().as_str()), (412, "precondition-failed"));
    assert_eq!(stale.header("etag"), stuck.header("etag"));
    assert_eq!(world.until(&id, "stuck").await.body, stuck.body);
}

#[tokio::test]
async fn a_command_that_makes_no_sense_is_refused_with_an_explanation() {
    let world = World::new().await;
    let running = world.start(1, "held").await;
    let resumed = command(&world, &running, "resume", &[], json!({ "reason": "go" })).await;
    assert_eq!((resumed.status, resumed.problem().as_str()), (409, "command-refused"));
    assert!(resumed.text("/detail").contains("not paused"));
    let ended = world.start(2, "visa").await;
    world.until(&ended, "completed").await;
    for verb in ["retry", "compensate", "cancel", "pause", "stop"] {
        let late = command(&world, &ended, verb, &[], json!({ "reason": "late" })).await;
        assert_eq!(late.problem(), "command-refused", "{verb}");
        assert!(late.text("/detail").contains("a verdict is final"), "{}", late.raw);
    }
    world.gate.add_permits(1);
}

#[tokio::test]
async fn a_paused_saga_rests_until_it_is_resumed() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let paused = command(&world, &id, "pause", &[], json!({ "reason": "audit" })).await;
    assert_eq!(paused.status, 200, "{}", paused.raw);
    world.gate.add_permits(1);
    let resumed = command(&world, &id, "resume", &[], json!({ "reason": "audited" })).await;
    assert_eq!(resumed.status, 200, "{}", resumed.raw);
    world.until(&id, "completed").await;
}

#[tokio::test]
async fn a_command_says_what_is_missing_or_too_much() {
    let world = World::new().await;
    let id = world.start(1, "broken").await;
    world.until(&id, "stuck").await;
    let field = |answer: &Answer| answer.body["field"].clone();
    let bad = [
        ("stop", json!({}), Value::Null),
        ("stop", json!({ "reason": "x", "why": "y" }), Value::Null),
        ("stop", json!({ "reason": "  " }), json!("reason")),
        ("stop", json!({ "reason": "x", "step": "pay" }), json!("step")),
        ("skip", json!({ "reason": "x" }), json!("step")),
        ("skip", json!({ "reason": "x", "step": "pay" }), json!("assume")),
        ("skip", json!({ "reason": "x", "step": "pay", "assume": "done" }), json!("assume")),
    ];
    for (verb, body, expected) in bad {
        let refused = command(&world, &id, verb, &[], body.clone()).await;
        assert_eq!(refused.problem(), "malformed-request", "{body}");
        assert_eq!(field(&refused), expected, "{body}");
    }
    let nobody = "0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6";
    let unknown = command(&world, nobody, "stop", &[], json!({ "reason": "x" })).await;
    assert_eq!(unknown.problem(), "saga-not-found");
}
