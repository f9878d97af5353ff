//! The end of a daemon in the same process; `process` has the real one.

use std::time::Duration;

use reqwest::Method;
use saga_daemon::Limits;
use tokio::time::timeout;

use crate::support::{PATIENCE, World, order_json};

#[tokio::test]
async fn during_the_drain_readiness_falls_first_and_the_call_in_flight_comes_to_its_end() {
    let world = World::new().await;
    let id = world.start(1, "held").await;
    let path = format!("/v1/sagas/{id}");
    while world.api.get(&path).await.body["steps"][1]["state"] != "received" {}
    world.shutdown.cancel();
    let fallen = async { while world.api.get("/readyz").await.status != 503 {} };
    timeout(PATIENCE, fallen).await.expect("readiness falls");
    assert_eq!(world.api.get("/healthz").await.status, 200);
    assert_eq!(world.api.get(&path).await.body["status"], "running");
    world.gate.add_permits(1);
    let report = timeout(PATIENCE, world.running).await.expect("it ends").unwrap();
    assert!(!report.gave_up);
}

#[tokio::test]
async fn open_streams_and_waits_do_not_keep_a_daemon_from_ending() {
    let limits = Limits { close_within: PATIENCE, ..Limits::default() };
    let world = World::with(crate::support::memory(), |builder| {
        builder.limits(limits).worker(|worker| worker.drain_timeout(Duration::from_millis(100)))
    })
    .await;
    let id = world.start(1, "held").await;
    let mut stream =
        world.api.request(Method::GET, &format!("/v1/sagas/{id}/events")).send().await.unwrap();
    stream.chunk().await.unwrap().expect("it has begun");
    let api = world.api.clone();
    let waiting = tokio::spawn(async move {
        api.post("/v1/sagas/place-order?wait=60s", &order_json(2, "held")).await.status
    });
    while world.api.get("/v1/sagas").await.body["sagas"].as_array().unwrap().len() < 2 {}
    let begun = std::time::Instant::now();
    let report = world.stop().await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(report.gave_up, "the held calls were given up");
    assert_eq!(waiting.await.unwrap(), 202);
    while stream.chunk().await.unwrap().is_some() {}
}
