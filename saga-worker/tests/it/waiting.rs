//! A saga that waits for a worker which knows its definition says so, whoever is named as its owner.

use std::time::Duration;

use saga_core::store::{Leases, SagaLog, WorkerCard};
use saga_core::{Definition, Digest, SagaId, Status, Verdict, WaitReason, WorkerId};
use saga_worker::{Client, Worker};
use tokio::time::sleep;

use crate::support::{ACTION, Behave, LEASE, World, order, verdict};

const NOBODY: &str = "no worker knows definition place-order v3";

/// `place-order` v3, of a single step.
fn newer(world: &World) -> Definition {
    let builder = Definition::builder("place-order").version(3);
    builder.step(world.desk.retriable("ship")).build().unwrap()
}

async fn worker_of(world: &World, definition: Definition) -> Worker {
    world.builder_of(&world.access(), definition).start().await.unwrap()
}

/// The wait reason as a process without any code sees it.
async fn reason(world: &World, saga: SagaId) -> (WaitReason, String) {
    let client = Client::new(world.memory.clone(), Vec::new()).unwrap();
    let client = client.with_clock(world.clock.clone());
    let wait = client.view(saga).await.unwrap().unwrap().wait.expect("it is alive");
    assert_eq!(wait.text, wait.reason.to_string());
    (wait.reason, wait.text)
}

async fn owner(world: &World, saga: SagaId) -> Option<WorkerId> {
    world.memory.row(saga).await.unwrap().unwrap().owner
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_owner_has_died_waits_for_a_worker_that_knows_its_definition() {
    let world = World::new();
    world.desk.first("ship", ACTION, Behave::Hang);
    let _other = world.worker().await;
    let lost = worker_of(&world, newer(&world)).await;
    let started = order(&lost).await;
    world.desk.arrived("ship", ACTION, 1).await;
    let (in_flight, _) = reason(&world, started.id).await;
    assert!(matches!(in_flight, WaitReason::InFlight { .. }), "its owner lives: {in_flight:?}");
    assert_eq!(lost.view(started.id).await.unwrap().unwrap().wait.unwrap().reason, in_flight);

    drop(lost);
    sleep(LEASE * 2).await;
    assert!(owner(&world, started.id).await.is_some(), "the dead one is still its owner");
    let (waits, text) = reason(&world, started.id).await;
    let definition = newer(&world).spec().reference();
    assert_eq!(waits, WaitReason::Definition { definition, known_as: None });
    assert_eq!(text, NOBODY);

    let _next = worker_of(&world, newer(&world)).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_dead_owner_that_nobody_remembers_hides_nothing_either() {
    let world = World::new();
    world.desk.first("ship", ACTION, Behave::Hang);
    let lost = worker_of(&world, newer(&world)).await;
    let started = order(&lost).await;
    world.desk.arrived("ship", ACTION, 1).await;
    drop(lost);
    sleep(LEASE * 2).await;
    let dead = owner(&world, started.id).await.expect("a dead owner");
    assert_eq!(reason(&world, started.id).await.1, NOBODY);
    // Retiring hands everything back: now it has no owner, and a call in flight by its log.
    world.memory.retire(dead).await.unwrap();
    assert_eq!(owner(&world, started.id).await, None);
    assert_eq!(reason(&world, started.id).await.1, NOBODY);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_another_structure_under_the_version_does_not_take_the_saga_and_is_named() {
    let world = World::new();
    let publisher = worker_of(&world, newer(&world)).await;
    publisher.shutdown().await;
    let client = Client::new(world.memory.clone(), vec![newer(&world)]).unwrap();
    let started = order(&client.with_clock(world.clock.clone())).await;

    let mut definition = newer(&world).spec().reference();
    definition.digest = Digest::of(&[b"changed"]);
    let id = WorkerId::from_bytes([7; 16]);
    let definitions = vec![definition.clone()];
    let card = WorkerCard { id, name: "another build".into(), definitions: definitions.clone() };
    world.memory.enlist(&card, Duration::from_secs(3_600)).await.unwrap();
    let claim = saga_core::store::Claim { worker: id, definitions, limit: 10 };
    assert_eq!(world.memory.claim(&claim).await, Ok(Vec::new()));

    let (waits, text) = reason(&world, started.id).await;
    let wanted = newer(&world).spec().reference();
    let known_as = Some(definition.digest);
    assert_eq!(waits, WaitReason::Definition { definition: wanted.clone(), known_as });
    assert!(text.starts_with(NOBODY), "{text}");
    for digest in [wanted.digest, definition.digest] {
        assert!(text.contains(&digest.to_string()), "{text}");
    }
    let json = serde_json::to_value(&waits).unwrap();
    assert_eq!(json["reason"], "definition");
    assert_eq!(serde_json::from_value::<WaitReason>(json).unwrap(), waits);

    let _right = worker_of(&world, newer(&world)).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_for_a_time_or_a_person_says_that_first() {
    let world = World::new();
    world.desk.always("ship", ACTION, Behave::NotYet(Duration::from_secs(300)));
    let worker = worker_of(&world, newer(&world)).await;
    let started = order(&worker).await;
    world.settled(started.id, Status::Running).await;
    worker.shutdown().await;
    assert!(matches!(reason(&world, started.id).await.0, WaitReason::Retry { .. }));
    sleep(Duration::from_secs(400)).await;
    assert_eq!(reason(&world, started.id).await.1, NOBODY, "its time has come");
}
