//! The feed of all sagas, over real HTTP.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use saga_daemon::Limits;
use saga_daemon::access::{ApiKey, ApiKeys, Role};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Api, PATIENCE, World, keys, memory};

/// A server-sent event.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

/// A reader of one stream.
pub(crate) struct Reader {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl Reader {
    pub(crate) async fn open(api: &Api, query: &str) -> Self {
        Self::with(api.request(Method::GET, &format!("/v1/events{query}"))).await
    }

    pub(crate) async fn with(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(PATIENCE * 2).send().await.unwrap();
        let status = response.status();
        assert_eq!(status, 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut reader = Self { response, unread: Vec::new() };
        assert_eq!(reader.next().await.unwrap().event, "ready");
        reader
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                let block = String::from_utf8(block).unwrap();
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                let data = serde_json::from_str(&field("data: ")?).unwrap();
                return Some(Sent { id: field("id: "), event: field("event: ")?, data });
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("in time");
            self.unread.extend_from_slice(&chunk.ok()??);
        }
    }

    /// The next transition.
    pub(crate) async fn transition(&mut self) -> Sent {
        loop {
            let sent = self.next().await.expect("the stream goes on");
            if sent.event == "transition" {
                return sent;
            }
            assert_eq!(sent.event, "heartbeat", "{sent:?}");
        }
    }
}

impl Sent {
    pub(crate) fn place(&self) -> (String, u64) {
        (self.data["saga_id"].as_str().unwrap().to_owned(), self.data["seq"].as_u64().unwrap())
    }

    pub(crate) fn ends(&self) -> bool {
        self.data["events"].as_array().unwrap().iter().any(|event| event["event"] == "saga_ended")
    }
}

/// Asserts that what was received is exactly what the logs hold of these sagas, each in order.
pub(crate) async fn assert_complete(api: &Api, received: &[Sent]) {
    let mut logs: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for sent in received {
        let (id, seq) = sent.place();
        let before = logs.insert(id.clone(), seq).unwrap_or(0);
        assert_eq!(seq, before + 1, "saga {id} in order, without gap or repetition");
        seen.insert((id, seq));
    }
    for (id, last) in logs {
        let log = api.get(&format!("/v1/sagas/{id}/log?limit=500")).await;
        let logged = log.body["transitions"].as_array().unwrap().len() as u64;
        assert_eq!(last, logged, "the whole log of {id}");
    }
}

#[tokio::test]
async fn a_subscriber_gets_the_transitions_of_all_sagas_as_in_their_logs() {
    let world = World::new().await;
    let mut reader = Reader::open(&world.api, "").await;
    let ids = [world.start(1, "visa").await, world.start(2, "declined").await];
    let (mut received, mut ended) = (Vec::new(), 0);
    while ended < 2 {
        let sent = reader.transition().await;
        ended += usize::from(sent.ends());
        received.push(sent);
    }
    assert_complete(&world.api, &received).await;
    for (id, status) in ids.iter().zip(["completed", "compensated"]) {
        let log = world.api.get(&format!("/v1/sagas/{id}/log")).await;
        let of_saga: Vec<_> = received.iter().filter(|sent| sent.place().0 == *id).collect();
        for (sent, logged) in of_saga.iter().zip(log.body["transitions"].as_array().unwrap()) {
            assert_eq!(sent.data["events"], logged["events"]);
            assert_eq!(sent.data["at"], logged["at"]);
            assert_eq!(sent.data["cursor"].as_str(), sent.id.as_deref());
            assert_eq!(
                (&sent.data["type"], &sent.data["version"]),
                (&"transition".into(), &1.into())
            );
            assert_eq!(sent.data["name"], "place-order");
        }
        assert_eq!(of_saga.last().unwrap().data["status"], status);
        assert_eq!(of_saga[0].data["status"], "running");
    }
    let schema = &world.api.document()["components"]["schemas"]["Envelope"]["properties"];
    for field in received[0].data.as_object().unwrap().keys() {
        assert!(schema.get(field).is_some(), "{field} is not in the document");
    }
}

#[tokio::test]
async fn a_reader_goes_on_from_any_cursor_by_header_or_parameter() {
    let world = World::new().await;
    for order in 0..5 {
        let id = world.start(order, "visa").await;
        world.until(&id, "completed").await;
    }
    let mut reader = Reader::open(&world.api, "?after=beginning").await;
    let mut all = Vec::new();
    while all.iter().filter(|sent: &&Sent| sent.ends()).count() < 5 {
        all.push(reader.transition().await);
    }
    assert_complete(&world.api, &all).await;
    for at in (0..all.len() - 1).step_by(3) {
        let cursor = all[at].id.clone().unwrap();
        let mut by_parameter = Reader::open(&world.api, &format!("?after={cursor}")).await;
        assert_eq!(by_parameter.transition().await.place(), all[at + 1].place());
        // The header of a reconnecting reader comes before what its address says.
        let request = world.api.request(Method::GET, "/v1/events?after=beginning");
        let mut by_header = Reader::with(request.header("Last-Event-ID", cursor)).await;
        assert_eq!(by_header.transition().await.place(), all[at + 1].place());
    }
}

#[tokio::test]
async fn filters_let_through_what_they_say_and_nothing_else() {
    let world = World::new().await;
    for (order, card) in [(1, "visa"), (2, "declined")] {
        let start = world.api.request(Method::POST, "/v1/sagas/place-order");
        let start = start.header("Idempotency-Key", format!("order-{order}"));
        let started = world.api.send(start.json(&crate::support::order_json(order, card))).await;
        let status = if order == 1 { "completed" } else { "compensated" };
        world.until(&started.text("/id"), status).await;
    }
    let received = async |filter: &str, count: usize| {
        let mut reader = Reader::open(&world.api, &format!("?after=beginning&{filter}")).await;
        let mut all = Vec::new();
        while all.len() < count {
            all.push(reader.transition().await);
        }
        all
    };
    let verdicts = received("verdicts=true", 2).await;
    let statuses: Vec<_> = verdicts.iter().map(|sent| sent.data["status"].clone()).collect();
    assert_eq!(statuses, ["completed", "compensated"]);
    assert!(received("event=saga_ended", 2).await.iter().all(Sent::ends));
    let first = &received("key=order-2", 1).await[0];
    assert_eq!((&first.data["key"], &first.data["seq"]), (&"order-2".into(), &1.into()));
    let compensated = &received("status=compensated,stuck", 1).await[0];
    assert_eq!(compensated.data["key"], "order-2");
    let rejected = &received("event=step_rejected&name=place-order", 1).await[0];
    assert_eq!(rejected.data["key"], "order-2");
    for (query, field) in [
        ("status=asleep", "status"),
        ("event=saga_exploded", "event"),
        ("verdicts=maybe", "verdicts"),
        ("verdicts=true&event=worker_lost", "verdicts"),
        ("colour=red", "colour"),
    ] {
        let refused = world.api.get(&format!("/v1/events?{query}")).await;
        assert_eq!((refused.status, refused.text("/field")), (400, field.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn hostile_cursors_are_refused_with_what_to_do() {
    let world = World::new().await;
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    let mut reader = Reader::open(&world.api, "?after=beginning").await;
    let good = reader.transition().await.id.unwrap();
    let mut changed = good.clone();
    changed.replace_range(20..21, if &good[20..21] == "A" { "B" } else { "A" });
    for hostile in ["0", "-1", "%00", "..%2F..%2Fetc", "null", &changed, &good[1..]] {
        let refused = world.api.get(&format!("/v1/events?after={hostile}")).await;
        assert_eq!((refused.status, refused.text("/field").as_str()), (400, "after"), "{hostile}");
        let header = world.api.request(Method::GET, "/v1/events").header("Last-Event-ID", "x");
        assert_eq!(world.api.send(header).await.text("/field"), "Last-Event-ID");
    }
    // A cursor of another store, which is a cursor all the same.
    let elsewhere = World::new().await;
    let gone = elsewhere.api.get(&format!("/v1/events?after={good}")).await;
    assert_eq!((gone.status, gone.problem().as_str()), (410, "cursor-gone"));
    assert!(gone.text("/detail").contains("after=now"), "{}", gone.raw);
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats_that_carry_the_cursor_on() {
    let limits = Limits { heartbeat: Duration::from_millis(50), ..Limits::default() };
    let world = World::limited(limits).await;
    let mut reader = Reader::open(&world.api, "?key=nobody").await;
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    let seen = reader.next().await.unwrap();
    assert_eq!((seen.event.as_str(), &seen.data["type"]), ("heartbeat", &"heartbeat".into()));
    let mut last = seen;
    for _ in 0..3 {
        last = reader.next().await.unwrap();
        assert_eq!(last.event, "heartbeat", "the filter lets nothing through");
    }
    assert_eq!(last.data["lag_ms"], 0);
    // What the filter held back lies behind it: retention does not overtake this reader.
    let mut again = Reader::open(&world.api, &format!("?after={}", last.id.unwrap())).await;
    let next = world.start(2, "visa").await;
    assert_eq!(again.transition().await.place(), (next, 1));
}

#[tokio::test]
async fn a_reader_that_retention_has_overtaken_is_told_and_can_begin_anew() {
    let store = memory();
    let world = World::on(store.clone()).await;
    let old = world.start(1, "visa").await;
    world.until(&old, "completed").await;
    let caught_up = {
        let response = world.api.request(Method::GET, "/v1/events").send().await.unwrap();
        // A stream begins with the place where it begins.
        let mut reader = Reader { response, unread: Vec::new() };
        reader.next().await.unwrap().id.unwrap()
    };
    let gone = world.start(2, "visa").await;
    for id in [&old, &gone] {
        world.until(id, "completed").await;
    }
    while store.forget(Duration::ZERO, 10).await.unwrap() > 0 {}
    // This daemon still has in hand what it read; one that comes up now has not.
    let other = World::on(store).await;
    let refused = other.api.get(&format!("/v1/events?after={caught_up}")).await;
    assert_eq!((refused.status, refused.problem().as_str()), (410, "cursor-gone"));
    assert!(refused.text("/detail").contains("snapshot"));
    let mut anew = Reader::open(&other.api, "?after=now").await;
    let next = world.start(3, "visa").await;
    assert_eq!(anew.transition().await.place(), (next, 1));
}

#[tokio::test]
async fn streams_are_bounded_for_the_daemon_and_for_each_key() {
    let (keys, texts) = keys();
    let limits = Limits { streams_max: 3, streams_per_key_max: 2, ..Limits::default() };
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let [viewer, admin] = [&texts[0].1, &texts[3].1].map(|text| world.api.with_key(text));
    let first = Reader::open(&viewer, "").await;
    let _second = Reader::open(&viewer, "").await;
    let refused = viewer.get("/v1/events").await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-streams-of-key"));
    let _third = Reader::open(&admin, "").await;
    let refused = admin.get("/v1/events").await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too-many-streams"));
    drop(first);
    let again = async {
        loop {
            let request = viewer.request(Method::GET, "/v1/events");
            if request.send().await.unwrap().status() == 200 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is given back");
}

#[tokio::test]
async fn the_streams_of_a_revoked_key_end_and_those_of_others_go_on() {
    let (kept, kept_text) = ApiKey::create("kept", Role::Viewer).unwrap();
    let (gone, gone_text) = ApiKey::create("gone", Role::Viewer).unwrap();
    // Another secret under the same id is another key.
    let (other, _) = ApiKey::create("gone", Role::Viewer).unwrap();
    let keys = ApiKeys::new([kept.clone(), gone]).unwrap();
    let limits = Limits { heartbeat: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let [kept_api, gone_api] = [&kept_text, &gone_text].map(|text| world.api.with_key(text));
    let mut staying = Reader::open(&kept_api, "").await;
    let mut ending = Reader::open(&gone_api, "").await;
    world.handle.replace_keys(ApiKeys::new([kept, other]).unwrap()).unwrap();
    let problem = loop {
        let sent = ending.next().await.expect("it says why it ends");
        if sent.event != "heartbeat" {
            break sent;
        }
    };
    assert_eq!(problem.event, "problem");
    assert!(problem.data["type"].as_str().unwrap().ends_with("/unauthenticated"), "{problem:?}");
    assert!(ending.next().await.is_none(), "the stream ends");
    for _ in 0..5 {
        assert_eq!(staying.next().await.unwrap().event, "heartbeat");
    }
}

#[tokio::test]
async fn a_ticket_opens_one_stream_for_the_key_that_asked_for_it() {
    let (keys, texts) = keys();
    let limits = Limits { streams_per_key_max: 1, ..Limits::default() };
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let viewer = world.api.with_key(&texts[0].1);
    let ticket = async || {
        let given = viewer.post("/v1/tickets", &serde_json::json!({})).await;
        assert_eq!((given.status, given.body["valid_ms"].as_u64()), (201, Some(30_000)));
        given.text("/ticket")
    };
    let used = ticket().await;
    let held = Reader::open(&world.api, &format!("?ticket={used}")).await;
    let over = world.api.get(&format!("/v1/events?ticket={}", ticket().await)).await;
    assert_eq!(over.problem(), "too-many-streams-of-key", "it counts for its key");
    drop(held);
    for spent in [used.as_str(), "tk_guess", ""] {
        let refused = world.api.get(&format!("/v1/events?ticket={spent}")).await;
        assert_eq!((refused.status, refused.problem().as_str()), (401, "unauthenticated"));
    }
    // Nowhere else is it worth anything.
    let elsewhere = world.api.get(&format!("/v1/sagas?ticket={}", ticket().await)).await;
    assert_eq!(elsewhere.status, 401);
    let nobody = world.api.post("/v1/tickets", &serde_json::json!({})).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test]
async fn pages_of_other_sites_open_no_stream() {
    let origins = ["https://shop.example".to_owned()];
    let world = World::with(memory(), |builder| builder.origins(origins)).await;
    let own = world.api.url.clone();
    let id = world.start(1, "held").await;
    for path in ["/v1/events".to_owned(), format!("/v1/sagas/{id}/events")] {
        for foreign in ["https://evil.example", "null", "http://127.0.0.1:1", ""] {
            let request = world.api.request(Method::GET, &path).header("Origin", foreign);
            let refused = world.api.send(request).await;
            let problem = (refused.status, refused.problem());
            assert_eq!(problem, (403, "foreign-origin".to_owned()), "{foreign:?}");
        }
        for known in [own.as_str(), "https://shop.example"] {
            let request = world.api.request(Method::GET, &path).header("Origin", known);
            assert_eq!(request.send().await.unwrap().status(), 200, "{known}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_harms_nobody() {
    let limits = Limits {
        write_within: Duration::from_millis(300),
        heartbeat: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::limited(limits).await;
    let address = world.api.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let head = format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    let mut reader = Reader::open(&world.api, "?verdicts=true").await;
    let subscribed = async |count: f64| {
        let reached = async {
            loop {
                let metrics = world.api.get("/metrics").await.raw;
                let line = metrics.lines().find(|line| line.starts_with("saga_feed_subscribers "));
                let subscribers = line.unwrap().rsplit(' ').next().unwrap().to_owned();
                if subscribers.parse::<f64>().unwrap() <= count {
                    return;
                }
            }
        };
        timeout(PATIENCE, reached).await.expect("slow readers are cut");
    };
    // More than the sockets between them hold.
    let note = "x".repeat(200_000);
    for order in 0..120 {
        let body = serde_json::json!({ "order": order, "card": "visa", "note": note });
        let started = world.api.post("/v1/sagas/place-order", &body).await;
        assert_eq!(started.status, 201, "{}", started.raw);
    }
    for _ in 0..120 {
        assert!(reader.transition().await.ends());
    }
    subscribed(1.0).await;
    drop(slow);
}

#[tokio::test]
async fn a_drain_ends_the_streams() {
    let world = World::new().await;
    let mut reader = Reader::open(&world.api, "").await;
    world.stop().await;
    while reader.next().await.is_some() {}
}
