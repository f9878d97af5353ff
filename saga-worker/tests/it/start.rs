//! Starting once, whatever races.

use std::time::Duration;

use futures_util::future::join_all;
use saga_core::store::SagaLog as _;
use saga_core::{Event, IdempotencyKey, Status, Verdict};
use saga_worker::{Client, StartError};

use crate::support::{ACTION, Behave, Fault, LEASE, World, order, verdict};

#[tokio::test(start_paused = true)]
async fn the_same_key_and_input_start_one_saga() {
    let world = World::new();
    let worker = world.worker().await;
    let first = worker.start("place-order", &17).key("order-17").await.unwrap();
    let second = worker.start("place-order", &17).key("order-17").await.unwrap();
    assert!(first.created && !second.created);
    assert_eq!(first.id, second.id);
    assert_eq!(verdict(&second).await, Verdict::Completed);
    let after_the_end = worker.start("place-order", &17).key("order-17").await.unwrap();
    assert_eq!((after_the_end.id, after_the_end.created), (first.id, false));
    assert_eq!(world.desk.arrivals().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_same_key_with_another_input_is_a_conflict_that_names_the_saga() {
    let world = World::new();
    let worker = world.worker().await;
    let first = worker.start("place-order", &17).key("order-17").await.unwrap();
    let conflict = worker.start("place-order", &18).key("order-17").await.unwrap_err();
    let key = IdempotencyKey::new("order-17").unwrap();
    let name = "place-order".to_owned();
    assert_eq!(conflict, StartError::Conflict { name, key, id: first.id });
    assert_eq!(verdict(&first).await, Verdict::Completed);
    assert_eq!(world.desk.arrivals().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_log_says_who_started_a_saga_and_the_same_start_by_another_finds_it() {
    let world = World::new();
    let worker = world.worker().await;
    let start = |by: &str| worker.start("place-order", &17).key("order-17").by(by).into_future();
    let first = start("key shop-1").await.unwrap();
    let second = start("key shop-2").await.unwrap();
    assert_eq!((second.id, second.created), (first.id, false));
    let row = &world.memory.log(first.id, 0, 1).await.unwrap()[0];
    let events = row.decode().unwrap().events;
    let Event::SagaStarted(started) = &events[0] else { panic!("{events:?}") };
    assert_eq!(started.by.as_deref(), Some("key shop-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_racing_starts_with_one_key_give_one_saga() {
    let world = World::new();
    let workers = [world.worker().await, world.worker().await];
    let outsider = world.client();
    let clients: [&Client; 3] = [&workers[0], &workers[1], &outsider];
    let start = |n: usize| {
        let start = clients[n % 3].start("place-order", &17).key("order-17");
        tokio::spawn(async move { start.await.unwrap() })
    };
    let started: Vec<_> =
        join_all((0..64).map(start)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(started.iter().filter(|started| started.created).count(), 1);
    assert!(started.iter().all(|other| other.id == started[0].id));
    assert_eq!(verdict(&started[0]).await, Verdict::Completed);
    world.assert_whole(started[0].id);
    assert_eq!(world.desk.arrivals().len(), 4, "no call was made twice");
}

#[tokio::test(start_paused = true)]
async fn racing_starts_with_different_inputs_leave_one_winner_and_conflicts() {
    let world = World::new();
    let worker = world.worker().await;
    let starts = (0..16).map(|n| {
        let start = worker.start("place-order", &n).key("order-17");
        async move { start.await }
    });
    let outcomes = join_all(starts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let conflicts = outcomes.iter().filter(|o| matches!(o, Err(StartError::Conflict { .. })));
    assert_eq!(conflicts.count(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_saga_started_by_a_client_without_a_worker_is_picked_up() {
    let world = World::new();
    let _worker = world.worker().await;
    let started = order(&world.client()).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert!(world.clock.elapsed().as_millis() < 2_000, "{:?}", world.clock.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_can_start_what_only_a_worker_has_put_on_record() {
    let world = World::new();
    let stranger = Client::new(world.memory.clone(), Vec::new()).unwrap();
    let stranger = stranger.with_clock(world.clock.clone());
    let too_early = stranger.start("place-order", &()).await.unwrap_err();
    assert!(matches!(too_early, StartError::Definition(_)), "{too_early}");
    let _worker = world.worker().await;
    let started = order(&stranger).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_stops_waiting_leaves_a_saga_that_is_driven() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.fail("start", 1, Fault::Slow(Duration::from_secs(1)));
    let start = tokio::spawn(worker.start("place-order", &17).key("order-17").into_future());
    tokio::task::yield_now().await;
    start.abort();
    world.desk.arrived("confirm", ACTION, 1).await;
    let again = worker.start("place-order", &17).key("order-17").await.unwrap();
    assert!(!again.created);
    assert_eq!(verdict(&again).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_outcome_is_unknown_leaves_no_orphan() {
    // One that was done is found at the next look, one that comes later by the regular search.
    let (soon, later) = (Duration::from_secs(2), LEASE * 2);
    for (fault, bound) in [(Fault::After, soon), (Fault::Late(Duration::from_secs(4)), later)] {
        let world = World::new();
        let access = world.access();
        let worker = world.builder(&access).start().await.unwrap();
        access.fail("start", 1, fault);
        let unknown = worker.start("place-order", &17).key("order-17").await.unwrap_err();
        assert!(matches!(unknown, StartError::Store(_)), "{unknown}");
        // Nobody starts it again: it has to end all the same.
        world.desk.arrived("confirm", ACTION, 1).await;
        assert!(world.clock.elapsed() < bound, "{:?}", world.clock.elapsed());
        let again = worker.start("place-order", &17).key("order-17").await.unwrap();
        assert!(!again.created);
        assert_eq!(verdict(&again).await, Verdict::Completed);
        world.assert_whole(again.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_on_a_full_worker_is_stored_and_driven_when_there_is_room() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::Gate);
    let builder = world.builder(&world.access()).concurrency_max(1);
    let worker = builder.start().await.unwrap();
    let (first, second) = (order(&worker).await, order(&worker).await);
    world.desk.arrived("reserve", ACTION, 1).await;
    assert!(second.created);
    assert!(world.wait_text(second.id).await.contains("waiting for a worker"));
    world.desk.open();
    assert_eq!(verdict(&first).await, Verdict::Completed);
    assert_eq!(verdict(&second).await, Verdict::Completed);
    assert_eq!(worker.counts().await.unwrap()[3], (Status::Completed, 2));
}
