//! Inputs, outputs and figures past their bounds.

use std::time::Duration;

use saga_core::{Definition, Failure, Input, Status, Step, Verdict};
use saga_worker::{BuildError, RegistryError, StartError, Worker};
use serde::{Deserialize, Serialize};

use crate::support::{ACTION, Behave, World, verdict};

#[tokio::test(start_paused = true)]
async fn an_output_over_the_bound_is_unknown_so_that_the_effect_is_undone() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Give("x".repeat(2_000).into()));
    let builder = world.builder(&world.access()).payload_bytes_max(1_000);
    let worker = builder.start().await.unwrap();
    let started = worker.start("place-order", &()).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(world.effects(started.id, "redeem"), (1, 1));
    let words = world.words(started.id).await.join("\n");
    assert!(words.contains("2002 bytes of JSON, the bound is 1000"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn an_input_over_the_bound_is_refused_at_the_start_with_nothing_stored() {
    let world = World::new();
    let worker = world.builder(&world.access()).payload_bytes_max(1_000).start().await.unwrap();
    let refused = worker.start("place-order", &"x".repeat(999)).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("input of place-order") && text.contains("1001 bytes"), "{text}");
    assert!(worker.start("place-order", &"x".repeat(998)).await.is_ok());
    let counts = worker.counts().await.unwrap();
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<u64>(), 1);
}

#[derive(Serialize, Deserialize)]
struct Order {
    cents: u64,
}

#[tokio::test(start_paused = true)]
async fn an_input_of_the_wrong_type_is_refused_at_the_start() {
    let world = World::new();
    let pay = |Input(_): Input<Order>| async { Ok::<_, Failure>(()) };
    let definition = Definition::new("typed", [Step::pivot("pay", pay)]).unwrap();
    let worker = world.builder_of(&world.access(), definition).start().await.unwrap();
    let refused = worker.start("typed", &serde_json::json!({"cents": "many"})).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("input of typed") && text.contains("Order"), "{text}");
    assert!(matches!(refused, StartError::Input { .. }));
    assert_eq!(worker.counts().await.unwrap()[0], (Status::Running, 0));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_key_traceparent_or_name_is_refused_by_name() {
    let world = World::new();
    let worker = world.worker().await;
    let start = || worker.start("place-order", &());
    assert!(matches!(start().key("").await, Err(StartError::Key(_))));
    assert!(matches!(start().key("k".repeat(256)).await, Err(StartError::Key(_))));
    let refused = start().traceparent("00-abc").await.unwrap_err().to_string();
    assert!(refused.contains("00-abc") && refused.contains("32 hexadecimal digits"), "{refused}");
    let refused = worker.start("plaice-order", &()).await.unwrap_err().to_string();
    assert!(refused.contains("plaice-order") && refused.contains("place-order"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn figures_too_small_to_work_with_are_refused_by_name() {
    let world = World::new();
    let builder = || world.builder(&world.access());
    let refused = [
        builder().concurrency_max(0).start().await,
        builder().lease_ttl(Duration::from_millis(99)).start().await,
        builder().poll_interval(Duration::from_millis(9)).start().await,
        builder().losses_max(0).start().await,
        builder().payload_bytes_max(1).start().await,
    ];
    let names =
        ["concurrency_max", "lease_ttl", "poll_interval", "losses_max", "payload_bytes_max"];
    for (refused, name) in refused.into_iter().zip(names) {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(name) && text.contains("at least"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_no_definition_or_the_same_one_twice_does_not_start() {
    let world = World::new();
    let empty = Worker::builder(world.memory.clone()).start().await.unwrap_err();
    assert_eq!(empty, BuildError::NoDefinitions);
    let twice = world.builder(&world.access()).register(world.place_order()).start().await;
    let duplicate = RegistryError::Duplicate { name: "place-order".to_owned(), version: 1 };
    assert_eq!(twice.unwrap_err(), BuildError::Registry(duplicate));
}

#[tokio::test(start_paused = true)]
async fn a_definition_changed_under_the_same_version_does_not_start_and_shows_the_difference() {
    let world = World::new();
    drop(world.worker().await);
    let changed = world.define("place-order", [world.desk.compensatable("wrap").into()]);
    let refused = world.builder_of(&world.access(), changed).start().await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("place-order v1") && text.contains("+ wrap"), "{text}");
}
