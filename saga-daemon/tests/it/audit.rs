//! The audit trail: who changed what, written before it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use saga_core::store::{Audit as _, AuditEntry};
use saga_core::{AuditId, MemoryStore, Store};
use saga_daemon::access::Role;
use saga_store::SqliteStore;
use saga_worker::SystemClock;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::process::Served;
use crate::support::{Answer, Api, PATIENCE, World, keys, memory};

/// The entries that match, newest first.
async fn trail(api: &Api, query: &str) -> Vec<Value> {
    let page = api.get(&format!("/v1/audit{query}")).await;
    assert_eq!(page.status, 200, "{}", page.raw);
    page.body["entries"].as_array().unwrap().clone()
}

/// Looks again until there is an entry like this.
async fn until(api: &Api, query: &str, like: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = trail(api, query).await.into_iter().find(&like) {
            return found;
        }
        assert!(Instant::now() < deadline, "there is never such an entry");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The routes that are posted to: path, operation, and the action they say they leave.
fn posts(api: &Api) -> Vec<(String, String, Option<String>)> {
    let paths = api.document()["paths"].as_object().unwrap();
    let posts = paths.iter().filter_map(|(path, methods)| Some((path, methods.get("post")?)));
    let text = |value: &Value| value.as_str().map(str::to_owned);
    posts
        .map(|(path, post)| {
            (path.clone(), text(&post["operationId"]).unwrap(), text(&post["x-audit"]))
        })
        .collect()
}

/// A path of the document with something in it that there is not.
fn filled(path: &str) -> (String, &'static str) {
    let thing = if path == "/v1/bulk/{id}" { "retry" } else { "no-such-thing" };
    (path.replace("{id}", thing).replace("{name}", thing), thing)
}

#[tokio::test]
async fn every_route_that_changes_something_leaves_an_entry_and_so_does_a_refusal_for_the_role() {
    let (keys, texts) = keys();
    let world = World::with(memory(), |builder| builder.keys(keys)).await;
    let by = |role: Role| {
        let text = texts.iter().find(|(known, _)| *known == role).map(|(_, text)| text);
        world.api.with_key(text.unwrap())
    };
    let (admin, viewer) = (by(Role::Admin), by(Role::Viewer));
    let (mut count, mut walked) = (0, 0);
    for (path, operation, action) in posts(&world.api) {
        let (path, thing) = filled(&path);
        let body = json!({ "reason": "x" });
        assert_eq!(world.api.post(&path, &body).await.status, 401);
        assert_eq!(trail(&admin, "?limit=500").await.len(), count, "{operation}: by nobody");

        let answer = admin.post(&path, &body).await;
        let entries = trail(&admin, "?limit=500").await;
        if let Some(action) = &action {
            let entry = &entries[0];
            assert_eq!(entries.len(), count + 1, "{operation}");
            assert_eq!(entry["action"], action.replace("{id}", thing), "{operation}");
            assert_eq!((&entry["actor"], &entry["role"]), (&json!("admin"), &json!("admin")));
            assert_eq!((&entry["reason"], &entry["remote"]), (&json!("x"), &json!("127.0.0.1")));
            let became = (entry["status"].clone(), entry["problem"].clone());
            assert_eq!(became, (json!(answer.status), json!(answer.problem())), "{operation}");
            walked += 1;
        } else {
            assert!(
                ["start", "ticket"].contains(&operation.as_str()),
                "{operation} leaves nothing"
            );
        }
        count = entries.len();

        let refused = viewer.post(&path, &body).await;
        let entries = trail(&admin, "?limit=500").await;
        if operation != "ticket" {
            let action = action.map_or("saga.start".to_owned(), |said| said.replace("{id}", thing));
            assert_eq!((refused.status, entries.len()), (403, count + 1), "{operation}");
            let entry = &entries[0];
            assert_eq!((&entry["actor"], &entry["action"]), (&json!("viewer"), &json!(action)));
            assert_eq!((&entry["status"], &entry["problem"]), (&json!(403), &json!("forbidden")));
            assert_eq!((&entry["target"], &entry["reason"]), (&json!(thing), &Value::Null));
        }
        count = entries.len();
    }
    assert!(walked >= 12, "{walked}");
}

#[tokio::test]
async fn a_refused_key_does_not_fill_the_trail() {
    let (keys, texts) = keys();
    let world = World::with(memory(), |builder| builder.keys(keys)).await;
    let (viewer, operator) = (world.api.with_key(&texts[0].1), world.api.with_key(&texts[2].1));
    for _ in 0..80 {
        assert_eq!(viewer.post("/v1/sagas/place-order", &Value::Null).await.status, 403);
    }
    assert_eq!(trail(&operator, "?actor=viewer&limit=500").await.len(), 60);
}

#[tokio::test]
async fn an_entry_says_who_did_what_to_which_saga_and_why_and_what_became_of_it() {
    let world = World::new().await;
    let id = world.start(1, "broken").await;
    world.until(&id, "stuck").await;
    assert_eq!(trail(&world.api, "").await, [] as [Value; 0], "a start is in the saga's log");
    let skip = json!({
        "reason": "the bank confirmed", "actor": "alice", "step": "pay",
        "assume": { "processed": { "card": "4711" } },
    });
    let skipped = world.api.post(&format!("/v1/sagas/{id}/skip"), &skip).await;
    assert_eq!(skipped.status, 200, "{}", skipped.raw);
    let refused = world.api.post(&format!("/v1/sagas/{id}/stop"), &json!({ "reason": "x" })).await;
    assert_eq!(refused.problem(), "command-refused");

    let entries = trail(&world.api, &format!("?target={id}")).await;
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["saga.stop", "saga.skip"]);
    assert_eq!(
        (&entries[0]["status"], &entries[0]["problem"]),
        (&json!(409), &json!("command-refused"))
    );
    let entry = &entries[1];
    let detail = json!({ "actor": "alice", "step": "pay", "assume": "processed" });
    assert_eq!((&entry["detail"], &entry["reason"]), (&detail, &json!("the bank confirmed")));
    assert_eq!((&entry["actor"], &entry["role"]), (&json!("anonymous"), &json!("admin")));
    // Made up for the command, and the same in its answer and in the log of the saga.
    assert_eq!(entry["request_id"], skipped.body["request_id"]);
    assert_eq!((&entry["status"], &entry["problem"]), (&json!(200), &Value::Null));
    assert!(entry["at"].as_i64() <= entry["ended_at"].as_i64().map(|at| at + 1_000));
}

#[tokio::test]
async fn a_bulk_is_found_under_its_id_with_the_filter_it_was_given() {
    let world = World::new().await;
    let filter = json!({ "status": ["stuck"] });
    let body = json!({ "reason": "the bank is back", "filter": filter, "rate": 7 });
    let begun = world.api.post("/v1/bulk/retry", &body).await;
    let id = begun.text("/id");
    let ended = world.api.post(&format!("/v1/bulk/{id}/cancel"), &Value::Null).await;
    assert_eq!((begun.status, ended.status), (202, 200));
    let entries = trail(&world.api, &format!("?target={id}")).await;
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["bulk.end", "bulk.retry"]);
    assert_eq!(entries[1]["detail"], json!({ "filter": filter, "rate": 7 }));
    let refused = json!({ "reason": "x", "filter": { "text": "x".repeat(20_000) } });
    assert_eq!(world.api.post("/v1/bulk/retry", &refused).await.problem(), "too-large");
}

#[tokio::test]
async fn the_trail_is_read_in_pages_and_says_what_is_wrong_with_a_question() {
    let world = World::new().await;
    for nth in 0..7 {
        let verb = ["pause", "resume"][nth % 2];
        let path = format!("/v1/sagas/no-saga-{}/{verb}", nth % 3);
        world.api.post(&path, &json!({ "reason": "x" })).await;
    }
    let whole = trail(&world.api, "").await;
    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let page = world.api.get(&format!("/v1/audit{query}")).await.body;
        seen.extend(page["entries"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=3&before={next}");
    }
    assert_eq!((seen.len(), &seen), (7, &whole));
    assert_eq!(trail(&world.api, "?action=saga.resume").await.len(), 3);
    assert_eq!(trail(&world.api, "?actor=anonymous&target=no-saga-0").await.len(), 3);
    let at = whole[3]["at"].as_i64().unwrap();
    let (since, until) = (
        trail(&world.api, &format!("?since={at}")).await,
        trail(&world.api, &format!("?until={at}")).await,
    );
    assert!(since.contains(&whole[3]) && !until.contains(&whole[3]));
    assert_eq!(since.len() + until.len(), 7);
    for wrong in ["since=soon", "before=7", "limit=0", "limit=501", "who=me"] {
        let refused = world.api.get(&format!("/v1/audit?{wrong}")).await;
        assert_eq!(refused.problem(), "malformed-request", "{wrong}");
    }
}

async fn execute(path: &std::path::Path, sql: &str) {
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn when_the_trail_cannot_be_written_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saga.db");
    let world = World::on(Arc::new(SqliteStore::open(&path).await.unwrap())).await;
    let id = world.start(1, "broken").await;
    let stuck = world.until(&id, "stuck").await;
    let stop = async || -> Answer {
        world.api.post(&format!("/v1/sagas/{id}/stop"), &json!({ "reason": "given up" })).await
    };
    execute(&path, "ALTER TABLE saga_audit RENAME TO elsewhere").await;
    let refused = stop().await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "store-unavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(!refused.raw.contains("saga_audit"), "{}", refused.raw);
    assert_eq!(world.until(&id, "stuck").await.body["seq"], stuck.body["seq"]);
    assert_eq!(world.start(2, "visa").await.len(), 36, "a start needs no entry");

    execute(&path, "ALTER TABLE elsewhere RENAME TO saga_audit").await;
    assert_eq!(stop().await.status, 200);
    assert_eq!(trail(&world.api, "").await.len(), 1);
}

#[tokio::test]
async fn the_entry_is_there_before_the_deed_and_completed_for_a_client_that_has_gone_away() {
    let store: Arc<dyn Store> = memory();
    let first = World::on(store.clone()).await;
    let id = first.start(1, "broken").await;
    first.until(&id, "stuck").await;
    first.stop().await;
    // Nobody is there to carry the command out, so its route waits.
    let idle = World::idle(store.clone()).await;
    let api = idle.api.clone();
    let path = format!("/v1/sagas/{id}/stop");
    let client =
        tokio::spawn(async move { api.post(&path, &json!({ "reason": "given up" })).await });
    let query = format!("?target={id}");
    let entry = until(&idle.api, &query, |_| true).await;
    assert_eq!((&entry["action"], &entry["status"]), (&json!("saga.stop"), &Value::Null));
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    let _worker = World::on(store).await;
    let entry = until(&idle.api, &query, |entry| !entry["status"].is_null()).await;
    assert_eq!((&entry["status"], &entry["reason"]), (&json!(200), &json!("given up")));
}

/// An entry made so many microseconds after 1970.
fn made_at(ms: u128) -> AuditEntry {
    AuditEntry {
        id: AuditId::from_bytes(((ms << 80) | 1).to_be_bytes()),
        actor: "ops".to_owned(),
        role: "operator".to_owned(),
        remote: None,
        action: "saga.stop".to_owned(),
        target: None,
        reason: None,
        request_id: None,
        detail: None,
        outcome: None,
    }
}

#[tokio::test]
async fn entries_leave_after_their_age_and_stay_for_ever_if_they_are_to() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for (age, expected) in [(None, 3), (Some(Duration::from_secs(3_600)), 1)] {
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let day = Duration::from_secs(86_400);
        for at in [Duration::from_secs(1), now - day, now] {
            store.record_audit(&made_at(at.as_millis())).await.unwrap();
        }
        let world = World::with(store, |builder| builder.audit_retention(age)).await;
        let deadline = Instant::now() + PATIENCE;
        while trail(&world.api, "").await.len() != expected {
            assert!(Instant::now() < deadline, "they never come to {expected}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.stop().await;
    }
}

#[test]
fn the_command_line_shows_the_trail_also_after_its_daemon_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path(), &[]);
    let started = served.json(&["start", "brew-tea", "{\"cups\": 99}", "--wait", "30s"]);
    let id = started["id"].as_str().unwrap().to_owned();
    let paused = served.run(&["pause", &id, "--reason", "closing time", "--request-id", "pause-1"]);
    assert_eq!(paused.status.code(), Some(1), "what has ended cannot be paused: {paused:?}");
    served.signal("KILL");
    assert_eq!(served.code(), None);
    let served = Served::start(folder.path(), &[]);
    let shown = served.run(&["audit", "--target", &id, "--since", "1h"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for part in ["saga.pause", "anonymous (admin)", "409 command-refused", "closing time", &id] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = served.json(&["audit", "--action", "saga.pause", "--limit", "1"]);
    assert_eq!(listed["entries"][0]["request_id"], "pause-1");
    let nothing = served.json(&["audit", "--until", "1h"]);
    assert_eq!(nothing["entries"], json!([]));
    let wrong = served.run(&["audit", "--since", "yesterday"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("--since"), "{wrong:?}");
}

/// What a page of another site could send without being asked leaves nothing.
#[tokio::test]
async fn what_is_not_declared_as_json_is_not_recorded() {
    let world = World::new().await;
    let request = world.api.request(Method::POST, "/v1/sagas/no-saga/stop").body("reason=x");
    let refused = world.api.send(request).await;
    assert_eq!(refused.problem(), "not-json");
    assert_eq!(trail(&world.api, "").await, [] as [Value; 0]);
}
