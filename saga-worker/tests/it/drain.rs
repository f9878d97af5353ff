//! Shutting down: what is finished, what is given up, what is handed back.

use std::time::Duration;

use saga_core::store::{Leases, SagaLog};
use saga_core::{Event, TransientCause, Verdict};
use tokio::time::{Instant, sleep};

use crate::support::{ACTION, Behave, Fault, LEASE, World, order, verdict, within_an_hour};

#[tokio::test(start_paused = true)]
async fn a_drain_lets_calls_in_flight_finish_and_hands_out_no_other() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_secs(2)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    let report = worker.shutdown().await;
    assert_eq!((report.sagas, report.gave_up), (1, false));
    assert_eq!(world.clock.elapsed(), Duration::from_secs(2));
    assert!(world.desk.arrivals_of("pay", ACTION).is_empty());
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!(row.owner, None, "handed back");
    assert!(world.memory.workers().await.unwrap().is_empty(), "no lease is left");
    // Another worker goes on at once, from what was recorded.
    let other = world.worker().await;
    let begun = Instant::now();
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(world.desk.arrivals().len(), 4);
    assert!(!world.events(started.id).await.contains(&Event::WorkerLost));
}

#[tokio::test(start_paused = true)]
async fn hung_calls_are_given_up_at_the_drain_timeout() {
    let world = World::new();
    world.desk.first("slow", ACTION, Behave::CleanUpWhenTold);
    let step = world.desk.compensatable("slow").timeout(Duration::from_secs(1_000));
    let definition = saga_core::Definition::new("long", [step]).unwrap();
    let builder = world.builder_of(&world.access(), definition.clone());
    let worker = builder.drain_timeout(Duration::from_secs(20)).start().await.unwrap();
    let started = worker.start("long", &()).await.unwrap();
    world.desk.arrived("slow", ACTION, 1).await;
    let report = worker.shutdown().await;
    assert_eq!((report.sagas, report.gave_up), (1, true));
    assert!(world.clock.elapsed() < Duration::from_secs(21), "{:?}", world.clock.elapsed());
    assert_eq!(world.desk.cleaned_up(), 1);
    let other = world.builder_of(&world.access(), definition).start().await.unwrap();
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    assert!(world.clock.elapsed() < Duration::from_secs(21), "{:?}", world.clock.elapsed());
    let cancelled = |event: &Event| matches!(event, Event::StepFailed { failure, .. } if failure.cause == TransientCause::Cancelled);
    assert!(world.events(started.id).await.iter().any(cancelled));
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_claims_nothing_more_and_leaves_new_starts_to_others() {
    let world = World::new();
    world.desk.first("reserve", ACTION, Behave::Slow(Duration::from_secs(2)));
    let worker = world.worker().await;
    let client = worker.client().clone();
    order(&worker).await;
    world.desk.arrived("reserve", ACTION, 1).await;
    let draining = tokio::spawn(worker.shutdown());
    tokio::task::yield_now().await;
    let (own, foreign) = (order(&client).await, order(&world.client()).await);
    draining.await.unwrap();
    for started in [&own, &foreign] {
        let row = world.memory.row(started.id).await.unwrap().unwrap();
        assert_eq!((row.owner, row.epoch), (None, 0));
    }
    let _other = world.worker().await;
    assert_eq!(verdict(&own).await, Verdict::Completed);
    assert_eq!(verdict(&foreign).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_start_under_way_when_the_drain_begins_is_waited_for_and_handed_back() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.fail("start", 1, Fault::Slow(Duration::from_secs(2)));
    let start = tokio::spawn(worker.start("place-order", &()).into_future());
    tokio::task::yield_now().await;
    worker.shutdown().await;
    let started = start.await.unwrap().unwrap();
    assert!(world.memory.workers().await.unwrap().is_empty());
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!(row.owner, None, "handed back like all others");
    sleep(LEASE * 2).await;
    let calls = world.desk.arrivals().len();
    assert!(calls <= 1, "the first call was planned with the start, no other: {calls}");
    let other = world.worker().await;
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_without_a_store_ends_in_bounded_time() {
    for hang in [false, true] {
        let world = World::new();
        world.desk.always("redeem", ACTION, Behave::Slow(Duration::from_secs(1)));
        let access = world.access();
        let worker = world.builder(&access).start().await.unwrap();
        let started = order(&worker).await;
        world.desk.arrived("redeem", ACTION, 1).await;
        match hang {
            true => access.freeze(),
            false => access.go_down(),
        }
        let begun = Instant::now();
        within_an_hour(worker.shutdown()).await;
        assert!(begun.elapsed() <= Duration::from_secs(30) + LEASE * 2, "{:?}", begun.elapsed());
        let other = world.worker().await;
        assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
        world.assert_whole(started.id);
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_while_the_lease_is_lost_and_the_store_away_ends_in_bounded_time() {
    for hang in [false, true] {
        let world = World::new();
        let access = world.access();
        let worker = world.builder(&access).start().await.unwrap();
        match hang {
            true => access.freeze(),
            false => access.go_down(),
        }
        sleep(LEASE * 3).await;
        let begun = Instant::now();
        within_an_hour(worker.shutdown()).await;
        assert!(begun.elapsed() <= LEASE, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_sagas_are_handed_back_with_their_time() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::NotYet(Duration::from_secs(500)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    world.settled(started.id, saga_core::Status::Running).await;
    worker.shutdown().await;
    let other = world.worker().await;
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    assert!(world.clock.elapsed() >= Duration::from_secs(500), "{:?}", world.clock.elapsed());
}
