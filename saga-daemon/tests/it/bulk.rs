//! Commands in bulk.

use std::sync::Arc;
use std::time::Instant;

use reqwest::Method;
use saga_core::Store;
use serde_json::{Value, json};

use crate::process::Served;
use crate::support::{Answer, PATIENCE, World, memory};

async fn begin(world: &World, command: &str, body: &Value) -> Answer {
    world.api.post(&format!("/v1/bulk/{command}"), body).await
}

async fn until_done(world: &World, id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let bulk = world.api.get(&format!("/v1/bulk/{id}")).await;
        if bulk.body["state"] != "running" {
            return bulk.body;
        }
        assert!(Instant::now() < deadline, "never done: {}", bulk.raw);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Some stuck sagas, and one that has been completed.
async fn stuck(world: &World, count: u32) -> Vec<String> {
    let mut ids = Vec::new();
    for order in 0..count {
        ids.push(world.start(order, "broken").await);
    }
    let completed = world.start(count, "visa").await;
    for id in &ids {
        world.until(id, "stuck").await;
    }
    world.until(&completed, "completed").await;
    ids
}

#[tokio::test]
async fn every_saga_that_matches_gets_the_command_once_and_the_log_says_who_and_why() {
    let world = World::new().await;
    let ids = stuck(&world, 7).await;
    let filter = json!({ "status": ["stuck"], "name": "place-order", "step": "pay" });
    let body = json!({ "reason": "the bank is gone", "filter": filter, "dry_run": true });
    let dry = begin(&world, "stop", &body).await;
    assert_eq!((dry.status, &dry.body["state"]), (200, &json!("dry_run")));
    assert_eq!((&dry.body["matched"], &dry.body["more"]), (&json!(7), &json!(false)));
    assert_eq!(dry.body["sample"].as_array().unwrap().len(), 7);

    let body =
        json!({ "reason": "the bank is gone", "actor": "nora", "filter": filter, "rate": 500 });
    let begun = begin(&world, "stop", &body).await;
    assert_eq!(begun.status, 202, "{}", begun.raw);
    let done = until_done(&world, &begun.text("/id")).await;
    let figures = ["matched", "accepted", "unanswered"].map(|name| done[name].as_u64().unwrap());
    assert_eq!((figures, &done["refused"]), ([7, 7, 0], &json!({})));
    for id in &ids {
        world.until(id, "stopped").await;
        let log = world.api.get(&format!("/v1/sagas/{id}/log")).await.raw;
        assert!(log.contains("nora") && log.contains("the bank is gone"), "{log}");
    }
    assert_eq!(world.api.get("/v1/sagas").await.body["counts"]["completed"], 1);
    let listed = world.api.get("/v1/bulk").await;
    assert_eq!(listed.body["bulks"][0]["id"], begun.body["id"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_counted_by_its_reason() {
    let world = World::new().await;
    stuck(&world, 2).await;
    let body = json!({ "reason": "a try", "filter": { "all": true }, "rate": 1000 });
    let begun = begin(&world, "resume", &body).await;
    let done = until_done(&world, &begun.text("/id")).await;
    assert_eq!((&done["matched"], &done["accepted"]), (&json!(3), &json!(0)));
    let refused: u64 =
        done["refused"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(refused, 3, "{done}");
}

#[tokio::test]
async fn the_same_key_is_the_same_bulk_and_another_request_under_it_a_conflict() {
    let world = World::new().await;
    stuck(&world, 1).await;
    let send = |filter: Value| {
        let request = world.api.request(Method::POST, "/v1/bulk/stop");
        let body = json!({ "reason": "a try", "filter": filter });
        world.api.send(request.header("Idempotency-Key", "tonight").json(&body))
    };
    let first = send(json!({ "status": ["stuck"] })).await;
    let again = send(json!({ "status": ["stuck"] })).await;
    assert_eq!((first.status, again.status), (202, 200));
    assert_eq!(first.body["id"], again.body["id"]);
    assert_eq!(send(json!({ "all": true })).await.problem(), "key-conflict");
    assert_eq!(until_done(&world, &first.text("/id")).await["accepted"], 1);
}

#[tokio::test]
async fn a_bulk_says_what_is_wrong_with_it_before_it_begins() {
    let world = World::new().await;
    let any = json!({ "status": ["stuck"] });
    for (command, body) in [
        ("stop", json!({ "reason": "x", "filter": {} })),
        ("stop", json!({ "reason": "x", "filter": { "all": true, "name": "a" } })),
        ("stop", json!({ "reason": "", "filter": any })),
        ("stop", json!({ "reason": "x", "filter": { "status": ["done"] } })),
        ("stop", json!({ "reason": "x", "filter": any, "rate": 0 })),
        ("stop", json!({ "reason": "x", "filter": any, "step": "pay" })),
        ("skip", json!({ "reason": "x", "filter": any })),
        ("halt", json!({ "reason": "x", "filter": any })),
    ] {
        assert_eq!(begin(&world, command, &body).await.problem(), "malformed-request", "{body}");
    }
    let unknown = world.api.get("/v1/bulk/0123456789abcdef0123456789abcdef").await;
    assert_eq!(unknown.problem(), "bulk-unknown");
    assert_eq!(world.api.get("/v1/bulk").await.body["bulks"], json!([]));
}

/// Sagas that have been completed: each refuses to be resumed, which is quick.
async fn completed(world: &World, count: u32) {
    let mut ids = Vec::new();
    for order in 0..count {
        ids.push(world.start(order, "visa").await);
    }
    for id in &ids {
        world.until(id, "completed").await;
    }
}

async fn until_matched(world: &World, id: &str, matched: u64) {
    let deadline = Instant::now() + PATIENCE;
    while world.api.get(&format!("/v1/bulk/{id}")).await.body["matched"].as_u64() < Some(matched) {
        assert!(Instant::now() < deadline, "it never got so far");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_bulk_that_is_cancelled_gives_no_further_command() {
    let world = World::new().await;
    completed(&world, 60).await;
    let body = json!({ "reason": "a try", "filter": { "status": ["completed"] }, "rate": 25 });
    let id = begin(&world, "resume", &body).await.text("/id");
    until_matched(&world, &id, 25).await;
    let cancelled = world.api.post(&format!("/v1/bulk/{id}/cancel"), &Value::Null).await;
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")));
    // What came in between stands: the register is where it was when it was cancelled.
    let all = json!({ "reason": "x", "filter": { "all": true }, "rate": 1000 });
    let after = begin(&world, "resume", &all).await.text("/id");
    until_done(&world, &after).await;
    let done = until_done(&world, &id).await;
    assert_eq!((&done["state"], &done["matched"]), (&json!("cancelled"), &json!(25)));
}

#[tokio::test]
async fn another_daemon_goes_on_with_a_bulk_whose_daemon_ends() {
    let store: Arc<dyn Store> = memory();
    let (one, other) = (World::on(store.clone()).await, World::on(store).await);
    completed(&one, 60).await;
    let body = json!({ "reason": "a try", "filter": { "status": ["completed"] }, "rate": 50 });
    let id = begin(&one, "resume", &body).await.text("/id");
    until_matched(&one, &id, 25).await;
    one.stop().await;
    let done = until_done(&other, &id).await;
    assert_eq!((&done["state"], &done["matched"]), (&json!("done"), &json!(60)));
}

#[test]
fn the_command_line_follows_a_bulk_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path(), &[]);
    for cups in 0..3 {
        served.run(&["start", "brew-tea", &format!("{{\"cups\":{}}}", 99 + cups), "--wait", "30s"]);
    }
    let filter = ["--name", "brew-tea", "--reason", "closing time"];
    let dry = served.run(&[&["bulk", "stop", "--dry-run"], &filter[..]].concat());
    let shown = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(dry.status.success() && shown.matches("would get it").count() == 3, "{dry:?}");
    let ended = served.run(&[&["bulk", "pause"], &filter[..]].concat());
    // What has ended cannot be paused, and the exit code says that something was refused.
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stdout).contains("3 refused"), "{ended:?}");
    let listed = served.json(&["bulk", "list"]);
    assert_eq!(listed["bulks"].as_array().unwrap().len(), 1);
    let unfiltered = served.run(&["bulk", "stop", "--reason", "x"]);
    assert!(String::from_utf8_lossy(&unfiltered.stderr).contains("filter"), "{unfiltered:?}");
}
