//! Several versions of one definition: which one a start gets, and that a saga stays on its own.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Definitions, Leases, PublishError, SagaLog, StartOutcome};
use saga_core::{
    Definition, Failure, IdempotencyKey, Input, Rollout, SagaId, Share, Stage, Step, Verdict,
};
use saga_worker::{
    BuildError, Client, RegisterError, RegistryError, RolloutError, StartError, Worker,
    WorkerBuilder,
};
use serde::{Deserialize, Serialize};

use crate::support::{ACTION, Behave, LEASE, World, order, verdict};

/// `place-order` as a single step, whose name tells the version.
fn version(world: &World, version: u32) -> Definition {
    let builder = Definition::builder("place-order").version(version);
    builder.step(world.desk.retriable(&format!("step-of-v{version}"))).build().unwrap()
}

fn builder(world: &World, versions: &[u32]) -> WorkerBuilder {
    let builder = Worker::builder(world.access()).clock(world.clock.clone());
    versions.iter().fold(builder, |builder, number| builder.register(version(world, *number)))
}

/// A client in a process that has no definition at all.
fn stranger(world: &World) -> Client {
    Client::new(world.memory.clone(), Vec::new()).unwrap().with_clock(world.clock.clone())
}

async fn version_of(world: &World, saga: SagaId) -> u32 {
    stranger(world).view(saga).await.unwrap().unwrap().version
}

async fn started(client: &Client, key: &str) -> SagaId {
    client.start("place-order", &17).key(key).await.unwrap().id
}

#[tokio::test(start_paused = true)]
async fn a_running_saga_stays_on_its_version_and_a_new_one_starts_on_the_newest() {
    let world = World::new();
    world.desk.first("step-of-v1", ACTION, Behave::Hang);
    let before = builder(&world, &[1]).start().await.unwrap();
    let old = order(&before).await;
    world.desk.arrived("step-of-v1", ACTION, 1).await;
    drop(before);

    let after = builder(&world, &[1, 2]).start().await.unwrap();
    let new = order(&after).await;
    assert_eq!(verdict(&new).await, Verdict::Completed);
    let waited = after.verdict(old.id).await.unwrap();
    assert_eq!(waited, Verdict::Completed);
    assert!(world.clock.elapsed() >= LEASE, "it was taken over");
    assert_eq!((version_of(&world, old.id).await, version_of(&world, new.id).await), (1, 2));
    assert_eq!(world.desk.arrivals_of("step-of-v2", ACTION).len(), 1);
    assert_eq!(world.desk.arrivals_of("step-of-v1", ACTION).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_name_a_version_with_the_code_or_without() {
    let world = World::new();
    let worker = builder(&world, &[1, 2, 10]).start().await.unwrap();
    for client in [worker.client().clone(), stranger(&world)] {
        for (wanted, found) in [(None, 10), (Some(1), 1), (Some(2), 2), (Some(10), 10)] {
            let start = client.start("place-order", &17);
            let start = match wanted {
                Some(version) => start.version(version),
                None => start,
            };
            let started = start.await.unwrap();
            assert_eq!(verdict(&started).await, Verdict::Completed);
            assert_eq!(version_of(&world, started.id).await, found);
        }
        let unknown = client.start("place-order", &17).version(3).await.unwrap_err();
        let known = vec![1, 2, 10];
        let name = "place-order".to_owned();
        let wanted = RegistryError::UnknownVersion { name, version: 3, known };
        assert_eq!(unknown, StartError::Definition(wanted));
        let words = "definition place-order has no version 3: there are v1, v2, v10;";
        assert!(unknown.to_string().starts_with(words), "{unknown}");
        let unknown = client.start("book-trip", &17).version(3).await.unwrap_err().to_string();
        assert!(unknown.starts_with("no definition named \"book-trip\""), "{unknown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_gives_a_version_the_share_that_its_keys_say() {
    let world = World::new();
    let worker = builder(&world, &[1, 2, 3]).rollout("place-order", 3, Share::percent(50));
    let worker = worker.start().await.unwrap();
    let shared = Rollout::new("place-order", &[1, 2, 3], &[(3, Share::percent(50))]).unwrap();
    let mut on_the_new = 0;
    for number in 0..100 {
        let key = format!("order-{number}");
        let by_key = version_of(&world, started(&worker, &key).await).await;
        assert_eq!(by_key, shared.version_of(&key));
        let without = order(&worker).await.id;
        let by_id = version_of(&world, without).await;
        assert_eq!(by_id, shared.version_of(&without.to_string()));
        on_the_new += u32::from(by_key == 3) + u32::from(by_id == 3);
    }
    assert!((60..=140).contains(&on_the_new), "{on_the_new} of 200");
    let named = worker.start("place-order", &17).key("order-2").version(1).await;
    assert!(!named.unwrap().created, "under its key it exists already, on the version it has");
    let named = worker.start("place-order", &17).key("another").version(1).await.unwrap();
    assert_eq!(version_of(&world, named.id).await, 1, "a named version comes before any share");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_start_finds_its_saga_however_share_and_newest_version_have_changed() {
    let world = World::new();
    let _worker = builder(&world, &[1, 2]).start().await.unwrap();
    let share = |percent| [("place-order", 2, Share::percent(percent))];
    let none = stranger(&world).with_rollouts(share(0)).await.unwrap();
    let first = started(&none, "order-17").await;
    assert_eq!(version_of(&world, first).await, 1);

    let all = stranger(&world).with_rollouts(share(100)).await.unwrap();
    let newer = builder(&world, &[1, 2, 3]).start().await.unwrap();
    for client in [&all, newer.client(), &stranger(&world), &none] {
        let again = client.start("place-order", &17).key("order-17").await.unwrap();
        assert_eq!((again.id, again.created), (first, false));
        for version in [1, 2, 9] {
            let named = client.start("place-order", &17).key("order-17").version(version).await;
            assert_eq!(named.unwrap().id, first, "even one that is not there any more");
        }
        let conflict = client.start("place-order", &18).key("order-17").await.unwrap_err();
        assert!(matches!(conflict, StartError::Conflict { id, .. } if id == first), "{conflict}");
    }
    assert_eq!(version_of(&world, first).await, 1);
    assert_eq!(version_of(&world, started(&all, "order-18").await).await, 2);
}

#[derive(Serialize, Deserialize)]
struct Priced {
    cents: u64,
}

#[derive(Serialize, Deserialize)]
struct InCurrency {
    cents: u64,
    currency: String,
}

#[tokio::test(start_paused = true)]
async fn a_repeated_start_finds_its_saga_when_the_newest_version_reads_another_input() {
    async fn pay(_: Input<Priced>) -> Result<(), Failure> {
        Ok(())
    }
    async fn pay_in_currency(_: Input<InCurrency>) -> Result<(), Failure> {
        Ok(())
    }
    let world = World::new();
    let define = |version, step: Step| {
        Definition::builder("pay").version(version).step(Stage::from(step)).build().unwrap()
    };
    let (v1, v2) =
        (define(1, Step::pivot("pay", pay)), define(2, Step::pivot("pay", pay_in_currency)));
    let before = world.builder_of(&world.access(), v1.clone()).start().await.unwrap();
    let (input, other) = (Priced { cents: 5 }, Priced { cents: 6 });
    let first = before.start("pay", &input).key("bill-1").await.unwrap();

    let after = world.builder_of(&world.access(), v2).register(v1).start().await.unwrap();
    let again = after.start("pay", &input).key("bill-1").await.unwrap();
    assert_eq!((again.id, again.created), (first.id, false));
    let prepared = after.start("pay", &input).key("bill-1").prepare().await.unwrap();
    let existing = StartOutcome::Existing { id: first.id, same_input: true };
    assert_eq!(world.memory.start(prepared).await, Ok(existing), "in a transaction as well");
    let conflict = after.start("pay", &other).key("bill-1").await.unwrap_err();
    let key = IdempotencyKey::new("bill-1").unwrap();
    assert_eq!(conflict, StartError::Conflict { name: "pay".into(), key, id: first.id });
    let fresh = after.start("pay", &input).key("bill-2").await.unwrap_err();
    assert!(matches!(fresh, StartError::Input { .. }), "a new start reads the new input: {fresh}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_with_faults_is_refused_before_anything_is_on_record() {
    let world = World::new();
    let refused = builder(&world, &[2, 3])
        .rollout("place-order", 3, Share::percent(101))
        .rollout("place-order", 7, Share::percent(10))
        .rollout("book-trip", 1, Share::percent(10))
        .start()
        .await
        .unwrap_err();
    assert!(matches!(refused, BuildError::Rollout(RolloutError::Faults(_))), "{refused:?}");
    let text = refused.to_string();
    for words in [
        "the rollout has 3 fault(s)",
        "place-order v3 has a share of 101 %",
        "place-order v7 is not known: expected one of v2, v3",
        "book-trip: no definition of this name",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert_eq!(world.memory.versions("place-order").await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_the_code_has_a_rollout_of_its_own_over_what_is_on_record() {
    let world = World::new();
    let client = stranger(&world);
    let early = client.clone().with_rollouts([("place-order", 2, Share::percent(100))]).await;
    assert!(early.unwrap_err().to_string().contains("no definition of this name"));

    let _first = builder(&world, &[1, 2]).start().await.unwrap();
    let careful = client.clone().with_rollouts([("place-order", 2, Share::percent(10))]).await;
    let careful = careful.unwrap();
    // A newer version comes on record: a client without a rollout starts on it, one with does not.
    let _newer = builder(&world, &[3]).start().await.unwrap();
    let again = client.clone().with_rollouts([("place-order", 2, Share::percent(10))]).await;
    for (key, version) in [("order-17", 1), ("order-22", 2)] {
        for client in [&careful, again.as_ref().unwrap()] {
            assert_eq!(version_of(&world, started(client, key).await).await, version);
        }
    }
    assert_eq!(version_of(&world, started(&client, "order-18").await).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_changed_definition_under_an_old_version_is_refused_with_the_difference() {
    let world = World::new();
    let _worker = world.worker().await;
    let changed = Definition::new(
        "place-order",
        [
            world.desk.compensatable("redeem"),
            world.desk.compensatable("reserve"),
            world.desk.retriable("pay"),
        ],
    );
    let refused = world.builder_of(&world.access(), changed.unwrap()).start().await.unwrap_err();
    let BuildError::Publish(PublishError::Changed { .. }) = &refused else {
        panic!("another error: {refused:?}");
    };
    let wanted = "\
        definition place-order v1 was changed under the same version, but sagas may be running on \
        the one on record: give it a new version.\n  \
        - confirm (retriable)\n  \
        ~ pay is retriable now, and was pivot\n  \
        ~ the order is redeem, reserve, pay now, and was reserve, redeem, pay, confirm";
    assert_eq!(refused.to_string(), wanted);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alive = saga_core::store::Leases::workers(&*world.memory).await.unwrap();
    assert_eq!(alive.len(), 1, "the refused one has not enlisted");
    let kept = world.memory.definition("place-order", 1).await.unwrap();
    assert_eq!(kept.as_ref(), Some(Arc::as_ref(world.place_order().spec())));
}

#[tokio::test(start_paused = true)]
async fn a_version_registered_while_the_worker_runs_serves_new_sagas_and_those_that_wait_for_it() {
    let world = World::new();
    let worker = builder(&world, &[1]).start().await.unwrap();
    let other = builder(&world, &[2]).start().await.unwrap();
    world.desk.first("step-of-v2", ACTION, Behave::Hang);
    let waiting = order(&other).await;
    world.desk.arrived("step-of-v2", ACTION, 1).await;
    drop(other);
    worker.register(vec![version(&world, 2)]).await.unwrap();
    let new = order(&worker).await;
    assert_eq!(verdict(&new).await, Verdict::Completed);
    assert_eq!(version_of(&world, new.id).await, 2);
    assert_eq!(worker.verdict(waiting.id).await.unwrap(), Verdict::Completed);
    let cards = world.memory.workers().await.unwrap();
    let alive = cards.iter().find(|row| !row.expired).expect("the worker");
    let versions: Vec<u32> = alive.card.definitions.iter().map(|known| known.version).collect();
    assert_eq!(versions, [1, 2], "the others are told");
}

#[tokio::test(start_paused = true)]
async fn of_definitions_of_which_one_is_refused_none_is_registered() {
    let world = World::new();
    let worker = builder(&world, &[1]).start().await.unwrap();
    let changed = Definition::builder("place-order").step(world.desk.retriable("other")).build();
    let both = vec![version(&world, 2), changed.unwrap()];
    let refused = worker.register(both).await.unwrap_err();
    assert!(matches!(&refused, RegisterError::Changed(all) if all.len() == 1), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("place-order v1") && text.contains("other"), "{text}");
    let saga = order(&worker).await;
    assert_eq!(version_of(&world, saga.id).await, 1);
    assert_eq!(world.memory.versions("place-order").await.unwrap(), [1], "nor on record");
    let twice = worker.register(vec![version(&world, 3), version(&world, 3)]).await;
    assert!(matches!(twice, Err(RegisterError::Duplicate(_))), "{twice:?}");
}
