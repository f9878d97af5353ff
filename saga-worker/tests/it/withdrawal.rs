//! Calls that were announced and never made leave no doubt.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use saga_core::{Event, Op, Verdict};
use tokio::time::sleep;

use crate::support::{ACTION, Behave, Fault, FaultyStore, World, order, verdict};

/// The append that announces the pivot of the next order takes this long.
fn slow_announcement_of_the_pivot(access: &FaultyStore, time: Duration, renews: bool) {
    let appends = AtomicU32::new(0);
    access.plan(move |op| match op {
        // The first says that `reserve` is processed and announces `redeem`.
        "append" if appends.fetch_add(1, Ordering::Relaxed) == 1 => Some(Fault::Slow(time)),
        "renew" if !renews => Some(Fault::Before),
        _ => None,
    });
}

fn withdrawn(events: &[Event]) -> usize {
    let pivot = |event: &&Event| matches!(event, Event::CallWithdrawn { step, op: Op::Action, .. } if step.0 == 2);
    events.iter().filter(pivot).count()
}

#[tokio::test(start_paused = true)]
async fn a_pivot_given_up_before_its_call_at_the_end_of_a_drain_can_still_be_refused() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Reject);
    let access = world.access();
    let worker =
        world.builder(&access).drain_timeout(Duration::from_secs(1)).start().await.unwrap();
    slow_announcement_of_the_pivot(&access, Duration::from_secs(3), true);
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    worker.shutdown().await;
    assert!(world.desk.arrivals_of("pay", ACTION).is_empty());
    assert_eq!(withdrawn(&world.events(started.id).await), 1);
    let _other = world.worker().await;
    assert_eq!(verdict(&started).await, Verdict::Compensated, "nobody has to be asked");
    let attempts: Vec<_> =
        world.desk.arrivals_of("pay", ACTION).iter().map(|arrival| arrival.attempt).collect();
    assert_eq!(attempts, [1], "what was not made is no attempt");
    world.assert_clean(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_pivot_given_up_before_its_call_with_the_lease_can_still_be_refused() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Reject);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    // The heartbeat does not get through: the lease is given up at 8 s and others have it from
    // 10 s on. The announcement is done at 7.9 s and answered at 8.9 s.
    slow_announcement_of_the_pivot(&access, Duration::from_secs(2), false);
    sleep(Duration::from_millis(6_900)).await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    sleep(Duration::from_millis(2_000)).await;
    access.heal();
    assert_eq!(verdict(&started).await, Verdict::Compensated, "nobody has to be asked");
    assert_eq!(withdrawn(&world.events(started.id).await), 1);
    assert!(!world.events(started.id).await.contains(&Event::WorkerLost));
    assert_eq!(world.desk.arrivals_of("pay", ACTION).len(), 1);
    world.assert_clean(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_pivot_whose_call_was_under_way_when_the_lease_was_lost_stays_in_doubt() {
    let world = World::new();
    world.desk.script("pay", ACTION, |attempt| match attempt {
        1 => Behave::CleanUpWhenTold,
        _ => Behave::Reject,
    });
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    access.plan(|op| (op == "renew").then_some(Fault::Before));
    sleep(Duration::from_millis(7_000)).await;
    let started = order(&worker).await;
    world.desk.arrived("pay", ACTION, 1).await;
    sleep(Duration::from_millis(1_500)).await;
    access.heal();
    world.settled(started.id, saga_core::Status::Stuck).await;
    let wait = world.wait_text(started.id).await;
    assert!(wait.contains("an earlier attempt may have happened"), "{wait}");
    assert_eq!(withdrawn(&world.events(started.id).await), 0);
}
