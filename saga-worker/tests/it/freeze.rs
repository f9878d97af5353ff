//! Processes that stand still past their lease, and what is about to happen in them.

use std::time::Duration;

use saga_core::Verdict;
use saga_core::store::{Leases, SagaLog};
use tokio::time::{advance, sleep};

use crate::support::{ACTION, Behave, Fault, LEASE, World, order, verdict};

/// The attempts of a step as they arrived.
fn attempts(world: &World, step: &str) -> Vec<u32> {
    world.desk.arrivals_of(step, ACTION).iter().map(|arrival| arrival.attempt).collect()
}

#[tokio::test(start_paused = true)]
async fn a_start_that_slept_past_the_lease_makes_no_call() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.fail("start", 1, Fault::Slow(Duration::from_millis(100)));
    let start = tokio::spawn(worker.start("place-order", &()).into_future());
    sleep(Duration::from_millis(60)).await;
    advance(LEASE * 3).await;
    let started = start.await.unwrap().unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(attempts(&world, "reserve"), [2], "the first was announced and never made");
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_lease_has_lapsed_leaves_new_starts_to_others() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.plan(|op| matches!(op, "renew" | "enlist").then_some(Fault::Before));
    sleep(LEASE.mul_f64(0.85)).await;
    let started = order(&worker).await;
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!((row.owner, row.seq), (None, 1));
    sleep(LEASE * 3).await;
    assert!(world.desk.arrivals().is_empty());
    let _other = world.worker().await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(attempts(&world, "reserve"), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_start_in_the_very_moment_of_waking_up_is_left_to_others() {
    // Nothing in the process has had the time to notice that it slept.
    let world = World::new();
    let worker = world.worker().await;
    sleep(Duration::from_secs(1)).await;
    advance(LEASE * 3).await;
    let started = order(&worker).await;
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!((row.owner, row.epoch), (None, 0));
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_waited_for_in_memory_is_not_made_after_a_freeze() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::NotYet(Duration::from_millis(150)));
    let access = world.access();
    let zombie = world.builder(&access).start().await.unwrap();
    let started = order(&zombie).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    let log = || async { world.memory.log(started.id, 0, 100).await.unwrap() };
    while !log().await.last().unwrap().body.contains("step_failed") {
        sleep(Duration::from_millis(1)).await;
    }
    let epoch = log().await.last().unwrap().epoch;
    advance(LEASE * 3).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let later = log().await;
    let retried =
        later.iter().filter(|row| row.body.contains(r#""step_received":{"step":1,"attempt":2}"#));
    let epochs: Vec<_> = retried.map(|row| row.epoch).collect();
    assert!(epochs.len() == 1 && epochs[0] > epoch, "{epochs:?}: only under a new lease");
    assert_eq!(attempts(&world, "redeem"), [1, 2]);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_worker_that_wakes_up_writes_nothing_and_makes_no_call() {
    let world = World::new();
    world.desk.script("redeem", ACTION, |attempt| match attempt {
        1 => Behave::Slow(Duration::from_secs(1)),
        _ => Behave::Answer,
    });
    let access = world.access();
    let zombie = world.builder(&access).start().await.unwrap();
    let mut sagas = Vec::new();
    for _ in 0..20 {
        sagas.push(order(&zombie).await);
    }
    world.desk.arrived("redeem", ACTION, 20).await;
    // Its lease has run out and another worker has everything, before it wakes up.
    let before = world.desk.arrivals_of("pay", ACTION).len();
    assert_eq!(before, 0);
    access.freeze();
    world.expire_leases().await;
    let other = world.worker().await;
    for started in &sagas {
        assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    }
    let logs = async || {
        let mut logs = Vec::new();
        for started in &sagas {
            logs.push(world.memory.log(started.id, 0, 100).await.unwrap());
        }
        logs
    };
    let (told, calls) = (logs().await, world.desk.arrivals().len());
    access.thaw();
    sleep(LEASE * 3).await;
    assert_eq!(logs().await, told);
    assert_eq!(world.desk.arrivals().len(), calls);
    for started in &sagas {
        world.assert_whole(started.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_hangs_in_the_store_longer_than_the_lease_is_no_reason_to_go_on() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::CleanUpWhenTold);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.plan(|op| (op == "renew").then_some(Fault::Slow(LEASE * 3)));
    sleep(Duration::from_millis(5_500)).await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    sleep(Duration::from_millis(2_400)).await;
    assert_eq!(world.desk.cleaned_up(), 0, "the lease was proven for 8 s");
    sleep(Duration::from_millis(200)).await;
    assert_eq!(world.desk.cleaned_up(), 1, "told to stop");
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    let (owner, workers) = (row.owner, world.memory.workers().await.unwrap());
    assert!(workers.iter().any(|other| Some(other.card.id) == owner && !other.expired));
    access.heal();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_is_not_moved_on_after_a_freeze() {
    // Half-way through, it would do the second part of its work: nobody may want that any more.
    use saga_core::{Definition, Failure, Step};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let world = World::new();
    let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (begun, moved) = (first.clone(), second.clone());
    let pay = move |context: saga_core::StepContext| {
        let (begun, moved) = (begun.clone(), moved.clone());
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(100)).await;
            if context.attempt == 1 && !context.cancellation.is_cancelled() {
                moved.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<(), Failure>(())
        }
    };
    let definition = Definition::new("pay", [Step::pivot("pay", pay)]).unwrap();
    let worker = world.builder_of(&world.access(), definition).start().await.unwrap();
    let started = worker.start("pay", &()).await.unwrap();
    while first.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    advance(LEASE * 3).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(second.load(Ordering::SeqCst), 0, "it was told before it went on");
    assert_eq!(first.load(Ordering::SeqCst), 2);
}
