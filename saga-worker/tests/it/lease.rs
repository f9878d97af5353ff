//! A worker that loses its lease, with and without noticing.

use std::time::Duration;

use saga_core::store::{Leases, SagaLog};
use saga_core::{Event, TransientCause, Verdict};
use tokio::time::{advance, sleep};

use crate::support::{ACTION, Behave, Fault, LEASE, World, order, verdict};

#[tokio::test(start_paused = true)]
async fn a_worker_cut_off_from_the_store_fires_its_tokens_before_others_may_take_over() {
    let world = World::new();
    world.desk.script("redeem", ACTION, |attempt| match attempt {
        1 => Behave::CleanUpWhenTold,
        _ => Behave::Answer,
    });
    let access = world.access();
    let zombie = world.builder(&access).start().await.unwrap();
    let other = world.worker().await;
    sleep(Duration::from_secs(3)).await;
    let started = order(&zombie).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    // Last renewed when it enlisted, so it gives up at 8 s; others may take over from 10 s on.
    access.freeze();
    sleep(Duration::from_millis(5_100)).await;
    assert_eq!(world.desk.cleaned_up(), 1, "told to stop");
    sleep(Duration::from_millis(1_800)).await;
    assert_eq!(world.desk.arrivals_of("redeem", ACTION).len(), 1, "others wait for the lease");
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    access.thaw();
    sleep(LEASE * 3).await;
    world.assert_whole(started.id);
    assert_eq!(world.desk.arrivals_of("pay", ACTION).len(), 1, "the zombie made no further call");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_never_answered_costs_a_healthy_worker_nothing() {
    let world = World::new();
    world.desk.first("slow", ACTION, Behave::Gate);
    let step = world.desk.compensatable("slow").timeout(Duration::from_secs(1_000));
    let definition = saga_core::Definition::new("long", [step]).unwrap();
    let access = world.access();
    let worker = world.builder_of(&access, definition).start().await.unwrap();
    let before = world.memory.workers().await.unwrap()[0].card.id;
    let started = worker.start("long", &()).await.unwrap();
    world.desk.arrived("slow", ACTION, 1).await;
    for lost in [1, 2] {
        // Not answered before the lease has ended several times over.
        access.fail("renew", lost, Fault::Slow(LEASE * 8));
        sleep(LEASE * 2).await;
    }
    world.desk.open();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.desk.arrivals_of("slow", ACTION).len(), 1, "nobody took the saga over");
    assert_eq!(world.memory.workers().await.unwrap()[0].card.id, before, "the same lease");
    assert_eq!(access.faults()["renew"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_long_call_is_told_to_stop_when_the_lease_cannot_be_proven_any_more() {
    let world = World::new();
    world.desk.first("slow", ACTION, Behave::CleanUpWhenTold);
    let step = world.desk.compensatable("slow").timeout(Duration::from_secs(1_000));
    let definition = saga_core::Definition::new("long", [step]).unwrap();
    let access = world.access();
    let worker = world.builder_of(&access, definition).start().await.unwrap();
    let started = worker.start("long", &()).await.unwrap();
    world.desk.arrived("slow", ACTION, 1).await;
    access.go_down();
    sleep(LEASE.mul_f64(0.8) + Duration::from_millis(100)).await;
    assert_eq!(world.desk.cleaned_up(), 1);
    access.heal();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.effects(started.id, "slow"), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_worker_comes_back_is_fenced_and_makes_no_further_call() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Gate);
    let access = world.access();
    let zombie = world.builder(&access).start().await.unwrap();
    let started = order(&zombie).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    // The store's time goes on while the zombie's stands still: others take over.
    world.expire_leases().await;
    let other = world.worker().await;
    world.desk.arrived("redeem", ACTION, 2).await;
    assert_eq!(other.verdict(started.id).await.unwrap(), Verdict::Completed);
    // The zombie's own call answers only now.
    world.desk.open();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(access.faults()["fenced"], 1);
    let arrivals = world.desk.arrivals_of("pay", ACTION).len();
    assert_eq!(arrivals, 1, "only the new owner went on");
    world.assert_whole(started.id);
    let log = world.memory.log(started.id, 0, 100).await.unwrap();
    assert!(log.is_sorted_by_key(|row| row.epoch), "epochs never decrease");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_slept_past_its_lease_does_not_make_the_call_it_was_about_to_make() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::Gate);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.desk.arrived("reserve", ACTION, 1).await;
    access.fail("append", 1, Fault::Slow(Duration::from_millis(100)));
    world.desk.open();
    sleep(Duration::from_millis(60)).await;
    let log = world.memory.log(started.id, 0, 100).await.unwrap();
    assert_eq!(log.len(), 2, "the intent is durable, its answer on the way");
    // The whole process stands still, and nothing in it has had the time to notice.
    advance(LEASE * 2).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let attempts: Vec<_> =
        world.desk.arrivals_of("redeem", ACTION).iter().map(|arrival| arrival.attempt).collect();
    assert_eq!(attempts, [2], "the first was never made");
}

#[tokio::test(start_paused = true)]
async fn two_owners_in_the_middle_of_everything_leave_each_effect_once() {
    let world = World::new();
    for step in ["reserve", "redeem", "pay", "confirm"] {
        world.desk.always(step, ACTION, Behave::Slow(Duration::from_millis(400)));
    }
    let workers = [world.worker().await, world.worker().await];
    let mut sagas = Vec::new();
    for n in 0..20 {
        sagas.push(order(&workers[n % 2]).await);
    }
    for _ in 0..5 {
        sleep(Duration::from_millis(300)).await;
        world.expire_leases().await;
    }
    for started in &sagas {
        assert_eq!(verdict(started).await, Verdict::Completed);
        world.assert_whole(started.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_enlists_again_and_works_on() {
    let world = World::new();
    let worker = world.worker().await;
    assert_eq!(verdict(&order(&worker).await).await, Verdict::Completed);
    let before = world.memory.workers().await.unwrap()[0].card.id;
    world.expire_leases().await;
    sleep(LEASE).await;
    let workers = world.memory.workers().await.unwrap();
    assert_eq!(workers.len(), 1);
    assert_ne!(workers[0].card.id, before, "under another name");
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!(row.epoch, 0, "driven from its start, not claimed");
}

#[tokio::test(start_paused = true)]
async fn no_call_of_the_old_lease_is_under_way_when_the_new_one_begins() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::CleanUpWhenTold);
    let worker = world.worker().await;
    sleep(Duration::from_secs(3)).await;
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    world.expire_leases().await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!((world.desk.cleaned_up(), world.desk.overlaps()), (1, 0));
    assert!(world.clock.elapsed() < Duration::from_millis(4_500), "noticed at the next renewal");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_worker_is_a_crash_whose_sagas_go_on_elsewhere() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Gate);
    let worker = world.worker().await;
    let client = worker.client().clone();
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    drop(worker);
    let log_before = world.memory.log(started.id, 0, 100).await.unwrap();
    world.desk.open();
    sleep(LEASE * 2).await;
    assert_eq!(world.memory.log(started.id, 0, 100).await.unwrap(), log_before, "it is silent");
    // Its client still reaches the store, and leaves what it starts to others.
    let second = order(&client).await;
    let _other = world.worker().await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(verdict(&second).await, Verdict::Completed);
    let events = world.events(started.id).await;
    assert!(events.contains(&Event::WorkerLost));
    let lost = |event: &Event| matches!(event, Event::StepFailed { failure, .. } if failure.cause == TransientCause::WorkerLost);
    assert!(events.iter().any(lost));
    world.assert_whole(started.id);
}
