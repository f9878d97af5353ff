//! The stream of a saga's events.

use std::time::Duration;

use reqwest::Method;
use saga_daemon::Limits;
use tokio::time::timeout;

use crate::support::{PATIENCE, World};

/// A reader of one stream.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(world: &World, id: &str, last: Option<u64>) -> Self {
        let mut request = world.api.request(Method::GET, &format!("/v1/sagas/{id}/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next block; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    /// The id of the next transition.
    async fn next(&mut self) -> Option<u64> {
        loop {
            let block = self.block().await?;
            let id = block.lines().find_map(|line| line.strip_prefix("id: "));
            if let Some(id) = id {
                assert!(block.contains("event: transition\n"), "{block}");
                return Some(id.parse().unwrap());
            }
        }
    }

    async fn rest(&mut self) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Some(id) = self.next().await {
            ids.push(id);
        }
        ids
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let mut first = Reader::open(&world, &id, None).await;
    let mut seen = vec![first.next().await.unwrap()];
    drop(first);
    world.gate.add_permits(1);
    let ended = world.until(&id, "completed").await;
    let mut second = Reader::open(&world, &id, seen.last().copied()).await;
    seen.extend(second.rest().await);
    assert_eq!(seen, (1..=ended.body["seq"].as_u64().unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_stream_follows_a_saga_live_and_ends_after_its_verdict() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let mut reader = Reader::open(&world, &id, None).await;
    assert_eq!(reader.next().await, Some(1));
    world.gate.add_permits(1);
    let rest = reader.rest().await;
    let ended = world.api.get(&format!("/v1/sagas/{id}")).await;
    assert_eq!(ended.body["status"], "completed");
    assert_eq!(rest.last().copied(), ended.body["seq"].as_u64());
}

#[tokio::test]
async fn a_reader_that_has_seen_the_verdict_is_told_not_to_come_back() {
    let world = World::new().await;
    let id = world.start(1, "visa").await;
    let seq = world.until(&id, "completed").await.body["seq"].as_u64().unwrap();
    let path = format!("/v1/sagas/{id}/events");
    let done = world.api.request(Method::GET, &path).header("Last-Event-ID", seq);
    assert_eq!(world.api.send(done).await.status, 204);
    for (header, value) in [("Last-Event-ID", "99"), ("Last-Event-ID", "x")] {
        let wrong = world.api.request(Method::GET, &path).header(header, value);
        assert_eq!(world.api.send(wrong).await.problem(), "malformed-request");
    }
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_is_alive() {
    let limits = Limits { heartbeat: Duration::from_millis(20), ..Limits::default() };
    let world = World::limited(limits).await;
    let id = world.start(1, "held").await;
    let mut reader = Reader::open(&world, &id, None).await;
    while reader.block().await.unwrap() != ": heartbeat" {}
    world.gate.add_permits(1);
    assert!(!reader.rest().await.is_empty());
}

#[tokio::test]
async fn streams_beyond_the_bound_are_refused_and_a_place_is_free_again_after_one_ends() {
    let world = World::limited(Limits { streams_max: 1, ..Limits::default() }).await;
    let id = world.start(1, "held").await;
    let mut reader = Reader::open(&world, &id, None).await;
    let path = format!("/v1/sagas/{id}/events");
    let refused = world.api.get(&path).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "too-many-streams"));
    world.gate.add_permits(1);
    reader.rest().await;
    let again = async {
        while world.api.get(&path).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is given back");
}
