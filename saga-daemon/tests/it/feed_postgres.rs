//! The feed under many writers on a real PostgreSQL.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::store::{FeedEdge, Query};
use saga_core::{SagaId, Store};
use saga_daemon::Limits;
use tokio::task::JoinSet;

use crate::feed::{Reader, Sent, assert_complete};
use crate::support::{World, order_json};

/// Who writes at the same time.
const WRITERS: u32 = 32;
/// Sagas that each of them starts.
const SAGAS: u32 = 12;

async fn store(url: &str) -> Arc<dyn Store> {
    saga_store::connect(url).await.unwrap()
}

/// Two daemons on one database, with a worker each.
async fn worlds() -> (String, World, World) {
    let url = throwaway_postgres::fresh_database().unwrap();
    let first = World::on(store(&url).await).await;
    let limits = Limits { heartbeat: Duration::from_millis(200), ..Limits::default() };
    let second = World::with(store(&url).await, |builder| builder.limits(limits)).await;
    (url, first, second)
}

/// Starts all sagas by many writers at once, half of them rejected, through either daemon.
fn write(first: &World, second: &World) -> JoinSet<()> {
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let api = if writer % 2 == 0 { first.api.clone() } else { second.api.clone() };
        writing.spawn(async move {
            for order in 0..SAGAS {
                let card = if order % 2 == 0 { "visa" } else { "declined" };
                let body = order_json(writer * SAGAS + order, card);
                let started = api.post("/v1/sagas/place-order?wait=60s", &body).await;
                assert!(matches!(started.status, 200..300), "{}", started.raw);
            }
        });
    }
    writing
}

/// Reads until so many sagas have ended. Dropped and resumed again and again, now at one daemon and
/// now at the other, from wherever it was; `numbers` says after how many transitions.
async fn read_in_pieces(first: &World, second: &World, from: String, sagas: usize) -> Vec<Sent> {
    let (mut cursor, mut received, mut numbers) = (from, Vec::<Sent>::new(), 7_u64);
    while received.iter().filter(|sent| sent.ends()).count() < sagas {
        numbers =
            numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let api = if numbers >> 40 & 1 == 0 { &first.api } else { &second.api };
        let mut reader = Reader::open(api, &format!("?after={cursor}")).await;
        for _ in 0..(numbers >> 50) % 40 {
            let Some(sent) = reader.next().await else { break };
            cursor = sent.id.clone().expect("everything has a place");
            if sent.event == "transition" {
                received.push(sent);
            }
            if received.iter().filter(|sent| sent.ends()).count() == sagas {
                break;
            }
        }
    }
    received
}

/// The name tells `cargo xtask test` which tests need a server.
mod postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_subscriber_dropped_and_resumed_among_32_writers_gets_the_whole_log_in_order() {
        let (url, first, second) = worlds().await;
        let from = store(&url).await.feed_edge(FeedEdge::Newest).await.unwrap().to_string();
        let writing = write(&first, &second);
        let sagas = (WRITERS * SAGAS) as usize;
        let received = read_in_pieces(&first, &second, from, sagas).await;
        writing.join_all().await;
        assert_complete(&first.api, &received).await;
        let ids: BTreeSet<_> = received.iter().map(|sent| sent.place().0).collect();
        assert_eq!(ids.len(), sagas);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn retention_meanwhile_takes_nothing_from_a_subscriber_that_keeps_up() {
        let (url, first, second) = worlds().await;
        let mut reader = Reader::open(&first.api, "").await;
        let done = Arc::new(AtomicBool::new(false));
        let forgetting = tokio::spawn({
            let (store, done) = (store(&url).await, done.clone());
            async move {
                let mut forgotten = 0;
                while !done.load(Ordering::SeqCst) {
                    forgotten += store.forget(Duration::from_millis(1_500), 50).await.unwrap();
                    tokio::task::yield_now().await;
                }
                forgotten
            }
        });
        let writing = write(&first, &second);
        let mut last = std::collections::BTreeMap::new();
        let mut ended = 0;
        while ended < (WRITERS * SAGAS) as usize {
            let sent = reader.next().await.expect("the stream goes on");
            match sent.event.as_str() {
                "transition" => {
                    let (id, seq) = sent.place();
                    let before = last.insert(id, seq).unwrap_or(0);
                    assert_eq!(seq, before + 1, "in order and without a gap");
                    ended += usize::from(sent.ends());
                }
                "heartbeat" => {}
                // Told so, and not left with a gap: the machine was too slow for the age.
                "reset" => return,
                other => panic!("{other}"),
            }
        }
        writing.join_all().await;
        done.store(true, Ordering::SeqCst);
        forgetting.await.unwrap();
        let left = store(&url).await.find(&Query { limit: 500, ..Query::default() }).await.unwrap();
        let seen = |id: &SagaId| last.contains_key(&id.to_string());
        assert!(left.iter().all(|row| seen(&row.id)), "what is left was seen too");
    }
}
