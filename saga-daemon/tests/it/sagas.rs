//! Starting sagas and looking at them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{World, order_json};

#[tokio::test]
async fn a_start_with_a_wait_answers_with_the_verdict_and_where_the_saga_is() {
    let world = World::new().await;
    let started = world.api.post("/v1/sagas/place-order?wait=10s", &order_json(17, "visa")).await;
    assert_eq!(started.status, 201);
    assert_eq!(started.body["status"], "completed");
    assert_eq!(started.body["verdict"]["outcome"], "completed");
    assert_eq!(started.body["input"], order_json(17, "visa"));
    assert_eq!(started.body["wait"], Value::Null);
    let steps = started.body["steps"].as_array().unwrap();
    let states: Vec<_> =
        steps.iter().map(|step| (step["name"].clone(), step["state"].clone())).collect();
    assert_eq!(states.len(), 3);
    assert!(states.iter().all(|(_, state)| state == "processed"));
    assert_eq!(steps[0]["output"], 17);
    assert_eq!(steps[0]["attempts"], 1);
    assert!(steps[0]["started_at"].is_i64() && steps[0]["ended_at"].is_i64());
    let there = world.api.get(&started.header("location")).await;
    assert_eq!(there.body, started.body);
    assert_eq!(there.header("etag"), format!("\"{}\"", there.body["seq"]));
}

#[tokio::test]
async fn a_rejected_pivot_is_answered_as_compensated_with_the_reason_at_its_step() {
    let world = World::new().await;
    let started =
        world.api.post("/v1/sagas/place-order?wait=10s", &order_json(1, "declined")).await;
    assert_eq!(started.status, 201);
    assert_eq!(started.body["verdict"]["outcome"], "compensated");
    assert_eq!(started.body["steps"][0]["state"], "compensated");
    assert_eq!(started.body["steps"][0]["effect"], "undone");
    assert_eq!(started.body["steps"][1]["last_error"], "rejected: card declined");
    assert_eq!(started.body["steps"][2]["state"], "pending");
    assert_eq!(world.api.get(&started.header("location")).await.body, started.body);
}

#[tokio::test]
async fn the_same_key_gives_the_same_saga_and_another_input_is_a_conflict_that_names_it() {
    let world = World::new().await;
    let start = |order| {
        let request = world.api.request(Method::POST, "/v1/sagas/place-order?wait=10s");
        world.api.send(request.header("Idempotency-Key", "order-17").json(&order_json(order, "")))
    };
    let first = start(17).await;
    let again = start(17).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(again.body, first.body);
    let other = start(18).await;
    assert_eq!(other.problem(), "key-conflict");
    assert_eq!(other.text("/saga_id"), first.text("/id"));
    let found = world.api.get("/v1/sagas?key=order-17").await;
    assert_eq!(found.body["sagas"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_saga_without_a_verdict_after_the_wait_is_accepted_and_says_what_it_waits_for() {
    let world = World::new().await;
    let started = world.api.post("/v1/sagas/place-order?wait=50ms", &order_json(1, "held")).await;
    assert_eq!(started.status, 202);
    assert_eq!(started.body["status"], "running");
    let view = world.until(&started.text("/id"), "running").await;
    assert!(view.text("/wait/text").contains("action of"), "{}", view.raw);
    world.gate.add_permits(1);
    let ended = world.api.get(&format!("{}?wait=10s", started.header("location"))).await;
    assert_eq!(ended.body["status"], "completed");
}

#[tokio::test]
async fn a_view_that_is_known_already_is_not_sent_again_until_it_changes() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let path = format!("/v1/sagas/{id}");
    let mut known = world.api.get(&path).await;
    while known.body["steps"][1]["state"] != "received" {
        known = world.api.get(&path).await;
    }
    let asked = |path: &str, tag: &str| {
        let request = world.api.request(Method::GET, path).header("If-None-Match", tag);
        world.api.send(request)
    };
    let unchanged = asked(&path, &known.header("etag")).await;
    assert_eq!((unchanged.status, unchanged.raw.as_str()), (304, ""));
    assert_eq!(unchanged.header("etag"), known.header("etag"));
    assert_eq!(asked(&path, "\"99\"").await.status, 200);
    assert_eq!(asked(&path, "*").await.status, 304);
    let (changed, ()) =
        tokio::join!(asked(&format!("{path}?wait=10s"), &known.header("etag")), async {
            world.gate.add_permits(1);
        });
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), known.header("etag"));
}

#[tokio::test]
async fn sagas_are_listed_in_pages_by_status_name_and_key_with_counts() {
    let world = World::new().await;
    for order in 0..5 {
        world.start(order, "visa").await;
    }
    let refused = world.start(9, "declined").await;
    world.until(&refused, "compensated").await;
    let mut seen = Vec::new();
    let mut page = world.api.get("/v1/sagas?limit=2").await;
    loop {
        let ids = page.body["sagas"].as_array().unwrap().iter().map(|saga| saga["id"].clone());
        seen.extend(ids);
        let Some(next) = page.body["next"].as_str() else { break };
        page = world.api.get(&format!("/v1/sagas?limit=2&before={next}")).await;
    }
    assert_eq!(seen.len(), 6);
    let mut newest_first = seen.clone();
    newest_first.sort_by_key(|id| std::cmp::Reverse(id.to_string()));
    assert_eq!(seen, newest_first);
    let compensated = world.api.get("/v1/sagas?status=compensated,stuck&name=place-order").await;
    assert_eq!(compensated.body["sagas"][0]["id"], refused);
    assert_eq!(compensated.body["counts"]["compensated"], 1);
    assert_eq!(compensated.body["counts"]["stuck"], 0);
    let none = world.api.get("/v1/sagas?name=other").await;
    assert_eq!(none.body["sagas"], json!([]));
}

#[tokio::test]
async fn the_log_is_paged_and_tells_each_event_in_words_with_its_step() {
    let world = World::new().await;
    let id = world.start(1, "visa").await;
    let ended = world.until(&id, "completed").await;
    let (mut after, mut seqs, mut words) = (0, Vec::new(), Vec::new());
    loop {
        let page = world.api.get(&format!("/v1/sagas/{id}/log?after={after}&limit=1")).await;
        for transition in page.body["transitions"].as_array().unwrap() {
            seqs.push(transition["seq"].as_u64().unwrap());
            words.extend(transition["events"].as_array().unwrap().clone());
        }
        let Some(next) = page.body["next"].as_u64() else { break };
        after = next;
    }
    assert_eq!(seqs, (1..=ended.body["seq"].as_u64().unwrap()).collect::<Vec<_>>());
    assert_eq!(words[0]["event"], "saga_started");
    let processed = words.iter().find(|event| event["event"] == "step_processed").unwrap();
    assert_eq!(processed["step"], "reserve");
    assert_eq!(processed["text"], "step reserve processed");
    assert_eq!(processed["data"]["output"], 1);
    assert_eq!(words.last().unwrap()["event"], "saga_ended");
}

#[tokio::test]
async fn definitions_workers_and_breakers_are_listed() {
    let world = World::new().await;
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    let definitions = world.api.get("/v1/definitions").await;
    let known = &definitions.body["definitions"][0];
    assert_eq!(
        (&known["name"], &known["version"], &known["workers"]),
        (&json!("place-order"), &json!(1), &json!(1))
    );
    assert_eq!(known["steps"][1]["kind"], "pivot");
    let workers = world.api.get("/v1/workers").await;
    assert_eq!(workers.body["workers"][0]["expired"], false);
    assert_eq!(workers.body["workers"][0]["definitions"], json!(["place-order v1"]));
    let breakers = world.api.get("/v1/breakers").await;
    let states = breakers.body["breakers"].as_array().unwrap();
    assert!(!states.is_empty() && states.iter().all(|breaker| breaker["state"] == "closed"));
    assert!(states.iter().all(|breaker| breaker["open_until"].is_null()));
}

#[tokio::test]
async fn a_caller_is_told_what_is_wrong_with_a_start() {
    let world = World::new().await;
    let unknown = world.api.post("/v1/sagas/place-odrer", &json!({})).await;
    assert_eq!(unknown.problem(), "definition-unknown");
    assert!(unknown.text("/detail").contains("place-order"), "{}", unknown.raw);
    let wrong = world.api.post("/v1/sagas/place-order", &json!({ "order": "seventeen" })).await;
    assert_eq!(wrong.problem(), "invalid-input");
    for (header, value) in [
        ("Idempotency-Key", "k".repeat(256)),
        ("traceparent", "00-nonsense".to_owned()),
        ("X-Saga-Version", "0".to_owned()),
        ("X-Saga-Version", "newest".to_owned()),
        ("X-Saga-ID", "seventeen".to_owned()),
        ("X-Saga-ID", id_at(0).replace("-7", "-4")),
        ("X-Saga-ID", id_at(7_200_000)),
        ("X-Saga-ID", format!("{}fff", &id_at(0)[..33])),
    ] {
        let request = world.api.request(Method::POST, "/v1/sagas/place-order");
        let refused = world.api.send(request.header(header, value).json(&order_json(1, ""))).await;
        assert_eq!(refused.problem(), "malformed-request", "{header}");
    }
    assert_eq!(world.api.get("/v1/sagas").await.body["sagas"], json!([]));
}

/// A saga id that somebody made so many milliseconds ago, in the bucket that every store has.
fn id_at(ms_ago: u128) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hex = format!("{:012x}7abc8def012345678000", now.as_millis() - ms_ago);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

#[tokio::test]
async fn a_client_that_chooses_the_id_starts_its_saga_once_and_nobody_elses() {
    let world = World::new().await;
    let id = id_at(0);
    let start = |id: &str, order: u32, key: Option<&'static str>| {
        let mut request = world.api.request(Method::POST, "/v1/sagas/place-order?wait=10s");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        world.api.send(request.header("X-Saga-ID", id).json(&order_json(order, "visa")))
    };
    let first = start(&id, 17, None).await;
    assert_eq!((first.status, first.text("/id")), (201, id.clone()));
    assert_eq!(first.body["status"], "completed");
    let again = start(&id, 17, None).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    let taken = start(&id, 18, None).await;
    assert_eq!((taken.problem(), taken.text("/saga_id")), ("saga-id-taken".to_owned(), id.clone()));

    // With a key, the id has to be in the bucket of the key, and the answer says which that is.
    let elsewhere = start(&id, 1, Some("k")).await;
    assert_eq!(
        (elsewhere.problem().as_str(), elsewhere.text("/field")),
        ("malformed-request", "X-Saga-ID".to_owned())
    );
    let expected = elsewhere.text("/expected");
    let digits = expected.split(' ').find(|word| word.ends_with(',')).unwrap();
    let keyed = format!("{}{}", &id[..33], digits.trim_end_matches(','));
    let other = start(&keyed, 1, Some("k")).await;
    assert_eq!((other.status, other.text("/id")), (201, keyed.clone()));
    assert_eq!(start(&keyed, 1, Some("k")).await.status, 200);
    let crossed = start(&keyed.replace("7abc", "7abd"), 1, Some("k")).await;
    assert_eq!(crossed.problem(), "saga-id-taken");
    assert!(crossed.text("/detail").contains(&keyed), "{}", crossed.raw);
}

#[tokio::test]
async fn sagas_are_found_by_version_key_text_and_time() {
    let world = World::new().await;
    for (key, card) in [("red-1", "visa"), ("red-2", "declined"), ("blue-1", "visa")] {
        let request = world.api.request(Method::POST, "/v1/sagas/place-order?wait=10s");
        world.api.send(request.header("Idempotency-Key", key).json(&order_json(1, card))).await;
    }
    let keys = async |filter: &str| {
        let page = world.api.get(&format!("/v1/sagas?{filter}")).await;
        assert_eq!(page.status, 200, "{}", page.raw);
        let sagas = page.body["sagas"].as_array().unwrap().clone();
        let keys = sagas.iter().map(|saga| saga["key"].as_str().unwrap().to_owned());
        (keys.collect::<Vec<_>>().join(" "), page)
    };
    assert_eq!(keys("version=1").await.0, "blue-1 red-2 red-1");
    assert_eq!(keys("version=2").await.0, "");
    assert_eq!(keys("key_prefix=red-").await.0, "red-2 red-1");
    assert_eq!(keys("text=LUE").await.0, "blue-1");
    assert_eq!(keys("text=red&status=compensated").await.0, "red-2");
    assert_eq!(keys("step=reserve").await.0, "", "those that have ended wait at no step");
    let (_, page) = keys("key_prefix=red-&limit=1").await;
    let next = page.text("/next").to_owned();
    assert_eq!(keys(&format!("key_prefix=red-&limit=1&before={next}")).await.0, "red-1");
    let blue = keys("key=blue-1").await.1;
    let at = blue.body["sagas"][0]["started_at"].as_i64().unwrap();
    assert_eq!(keys(&format!("started_after={at}")).await.0, "blue-1");
    assert_eq!(keys(&format!("started_before={at}")).await.0, "red-2 red-1");
    assert_eq!(keys(&format!("started_after={}", at + 7_200_000_000)).await.0, "");
    let ever = format!("started_before={}", i64::MAX);
    assert_eq!(keys(&ever).await.0, "blue-1 red-2 red-1");
}

#[tokio::test]
async fn a_start_names_its_version_and_is_told_which_there_are() {
    let world = World::new().await;
    let start = |version: &'static str| {
        let request = world.api.request(Method::POST, "/v1/sagas/place-order");
        world.api.send(request.header("X-Saga-Version", version).json(&order_json(1, "visa")))
    };
    let first = start("1").await;
    assert_eq!((first.status, &first.body["version"]), (201, &json!(1)));
    let unknown = start("2").await;
    assert_eq!(unknown.problem(), "definition-unknown");
    assert!(unknown.text("/detail").contains("there are v1"), "{}", unknown.raw);
}
