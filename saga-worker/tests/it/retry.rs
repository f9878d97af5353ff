//! Retries are durable: delays live in the store, not in a process.

use std::time::Duration;

use saga_core::store::SagaLog;
use saga_core::{Definition, RetryPolicy, Verdict, WaitReason};
use tokio::time::sleep;

use crate::support::{ACTION, Behave, LEASE, World, order, verdict};

/// A definition whose first step is retried after an hour or so.
fn patient(world: &World) -> Definition {
    let hour = Duration::from_secs(3_600);
    let retry = RetryPolicy::new(3, hour).capped(hour);
    Definition::new("patient", [world.desk.compensatable("wait").retry(retry)]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_in_the_store_and_goes_on_at_its_time_on_another_worker() {
    let world = World::new();
    world.desk.first("wait", ACTION, Behave::Fail);
    let access = world.access();
    let worker = world.builder_of(&access, patient(&world)).start().await.unwrap();
    let started = worker.start("patient", &()).await.unwrap();
    world.desk.arrived("wait", ACTION, 1).await;
    world.settled(started.id, saga_core::Status::Running).await;
    worker.shutdown().await;

    let row = world.memory.row(started.id).await.unwrap().unwrap();
    let due = row.summary.next_wake_at.expect("it is to be tried again");
    assert!(
        matches!(row.summary.wait, Some(WaitReason::Retry { attempt: 2, at, .. }) if at == due)
    );
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.desk.arrivals().len(), 1, "nobody calls without a worker");

    let other = world.builder_of(&world.access(), patient(&world)).start().await.unwrap();
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    let second = other.view(started.id).await.unwrap().unwrap().ended_at.unwrap();
    assert!(second >= due, "not before its time");
    assert!(
        second.since(due) < Duration::from_millis(1_200),
        "at most a poll later: {second} for {due}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_looks_again_exactly_when_what_it_let_go_of_is_due() {
    let world = World::new();
    // Two failures with delays of some 100 ms to 1 s: far from any poll.
    world.desk.script("wait", ACTION, |attempt| match attempt {
        1..4 => Behave::Fail,
        _ => Behave::Answer,
    });
    let retry = RetryPolicy::new(4, Duration::from_secs(2)).capped(Duration::from_secs(2));
    let step = world.desk.compensatable("wait").retry(retry);
    let definition = Definition::new("patient", [step]).unwrap();
    let builder = world.builder_of(&world.access(), definition);
    let worker = builder.poll_interval(Duration::from_secs(1_000)).start().await.unwrap();
    let started = worker.start("patient", &()).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert!(world.clock.elapsed() < Duration::from_secs(10), "{:?}", world.clock.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_says_when_to_come_again_is_not_called_before() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::NotYet(Duration::from_secs(500)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert!(world.clock.elapsed() >= Duration::from_secs(500));
    assert!(world.clock.elapsed() < Duration::from_secs(502));
}

#[tokio::test(start_paused = true)]
async fn a_crashed_workers_call_counts_as_unknown_and_is_made_again_under_the_same_key() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Hang);
    let worker = world.worker().await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    drop(worker);
    let other = world.worker().await;
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    assert!(world.clock.elapsed() >= LEASE, "not before the lease has run out");
    assert!(world.clock.elapsed() < LEASE + Duration::from_secs(3));
    let arrivals = world.desk.arrivals_of("redeem", ACTION);
    assert_eq!(arrivals.len(), 2);
    assert_eq!(arrivals[0].key, arrivals[1].key);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_before_the_pivot_turns_the_saga_even_without_a_call_in_flight() {
    let world = World::new();
    world.desk.always("wait", ACTION, Behave::Fail);
    let hour = Duration::from_secs(3_600);
    let step = world.desk.compensatable("wait").retry(RetryPolicy::new(99, hour));
    let builder = Definition::builder("patient").deadline(Duration::from_secs(30)).step(step);
    let worker = world.builder_of(&world.access(), builder.build().unwrap()).start().await.unwrap();
    let started = worker.start("patient", &()).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert!(world.clock.elapsed() >= Duration::from_secs(30));
    assert!(world.clock.elapsed() < Duration::from_secs(32));
}
