//! A store that is away, slow, or silent about what it did.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use saga_core::store::{Leases, SagaLog};
use saga_core::{Status, Verdict};
use saga_worker::{Started, Worker};
use tokio::time::sleep;

use crate::support::{ACTION, Behave, Fault, FaultyStore, LEASE, World, order, tell, verdict};

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_sat_out_without_losing_the_lease() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Gate);
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let started = order(&worker).await;
    world.desk.arrived("redeem", ACTION, 1).await;
    access.go_down();
    world.desk.open();
    sleep(LEASE / 4).await;
    assert!(world.desk.arrivals_of("pay", ACTION).is_empty(), "no call without a durable intent");
    access.heal();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.desk.arrivals().len(), 4, "nothing was called twice");
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_loses_nothing_and_doubles_nothing() {
    let world = World::new();
    for step in ["reserve", "redeem", "pay", "confirm"] {
        world.desk.always(step, ACTION, Behave::Slow(Duration::from_millis(700)));
    }
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let mut sagas = Vec::new();
    for _ in 0..20 {
        sagas.push(order(&worker).await);
        sleep(Duration::from_millis(150)).await;
    }
    access.go_down();
    sleep(Duration::from_secs(120)).await;
    assert!(worker.start("place-order", &()).await.is_err());
    access.heal();
    for started in &sagas {
        assert_eq!(verdict(started).await, Verdict::Completed);
        world.assert_whole(started.id);
    }
    assert!(world.clock.elapsed() < Duration::from_secs(150), "{:?}", world.clock.elapsed());
}

/// Hundreds of sagas on three workers, each of which reaches the store its own way.
async fn load(world: &World, accesses: &[Arc<FaultyStore>]) -> (Vec<Worker>, Vec<Started>) {
    for step in ["reserve", "redeem", "pay", "confirm"] {
        world.desk.always(step, ACTION, Behave::Slow(Duration::from_millis(700)));
    }
    let (mut workers, mut sagas) = (Vec::new(), Vec::new());
    for access in accesses {
        workers.push(world.builder(access).start().await.unwrap());
    }
    for number in 0..400 {
        sagas.push(order(&workers[number % workers.len()]).await);
        sleep(Duration::from_millis(4)).await;
    }
    (workers, sagas)
}

#[tokio::test(start_paused = true)]
async fn after_a_minute_without_a_store_hundreds_of_sagas_move_again_within_half_a_minute() {
    for hangs in [false, true] {
        let world = World::new();
        let accesses: Vec<_> = (0..3).map(|_| world.access()).collect();
        let (_workers, sagas) = load(&world, &accesses).await;
        let mut alive = Vec::new();
        for started in &sagas {
            let row = world.memory.row(started.id).await.unwrap().unwrap();
            if row.summary.status.is_alive() {
                alive.push((started.id, row.seq));
            }
        }
        assert!(alive.len() > 200, "{} are alive", alive.len());
        accesses.iter().for_each(|access| if hangs { access.freeze() } else { access.go_down() });
        sleep(Duration::from_secs(60)).await;
        accesses.iter().for_each(|access| if hangs { access.thaw() } else { access.heal() });
        let back = world.clock.elapsed();
        for (id, before) in alive {
            loop {
                let row = world.memory.row(id).await.unwrap().unwrap();
                if row.seq > before {
                    break;
                }
                let waited = world.clock.elapsed() - back;
                assert!(waited < Duration::from_secs(30), "{id} does not move: {row:?}");
                sleep(Duration::from_millis(50)).await;
            }
        }
        // Side by side: who waits in one process for a saga of another looks twice a second.
        for verdict in join_all(sagas.iter().map(verdict)).await {
            assert_eq!(verdict, Verdict::Completed);
        }
        sagas.iter().for_each(|started| world.assert_whole(started.id));
        let took = world.clock.elapsed() - back;
        assert!(took < Duration::from_secs(30), "hangs: {hangs}: all ended after {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_could_not_be_loaded_in_an_outage_is_not_left_alone_for_long() {
    // Everything works but this one thing, until the saga has been given up on.
    let world = World::new();
    let started = order(&world.client()).await;
    let access = world.access();
    access.plan(|op| (op == "load").then_some(Fault::Before));
    let _worker = world.builder(&access).start().await.unwrap();
    sleep(Duration::from_secs(30)).await;
    access.heal();
    let healed = world.clock.elapsed();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let waited = world.clock.elapsed() - healed;
    assert!(waited < Duration::from_secs(15), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_and_taken_up_again() {
    let world = World::new();
    for step in ["reserve", "redeem", "pay", "confirm"] {
        world.desk.always(step, ACTION, Behave::Slow(Duration::from_millis(700)));
    }
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    let mut sagas = Vec::new();
    for _ in 0..10 {
        sagas.push(order(&worker).await);
        sleep(Duration::from_millis(300)).await;
    }
    access.freeze();
    sleep(LEASE * 5).await;
    access.thaw();
    for started in &sagas {
        assert_eq!(verdict(started).await, Verdict::Completed);
        world.assert_whole(started.id);
    }
}

/// Each of these methods never answers, for as long as the test runs, on one of two workers.
#[tokio::test(start_paused = true)]
async fn one_method_that_never_answers_does_not_keep_a_worker_from_its_other_work() {
    for op in ["pending", "owned", "commands", "answer"] {
        let world = World::new();
        let access = world.access();
        let forever = Fault::Slow(Duration::from_secs(1_000_000));
        access.plan(move |called| (called == op).then_some(forever));
        let worker = world.builder(&access).start().await.unwrap();
        let started = order(&worker).await;
        assert_eq!(verdict(&started).await, Verdict::Completed, "{op}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_outcome_is_unknown_leaves_no_orphan() {
    // One that was done is found at the next look, one that comes later by the regular search.
    let (soon, later) = (Duration::from_secs(2), LEASE * 2);
    for (fault, bound) in [(Fault::After, soon), (Fault::Late(Duration::from_secs(4)), later)] {
        let world = World::new();
        let started = order(&world.client()).await;
        let access = world.access();
        access.fail("claim", 1, fault);
        let _worker = world.builder(&access).start().await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed, "{fault:?}");
        assert!(world.clock.elapsed() < bound, "{:?}", world.clock.elapsed());
        world.assert_whole(started.id);
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_whose_outcome_is_unknown_is_repeated_and_found() {
    for fault in
        [Fault::After, Fault::Late(Duration::from_millis(5)), Fault::Slow(LEASE.mul_f64(0.7))]
    {
        let world = World::new();
        let access = world.access();
        let worker = world.builder(&access).start().await.unwrap();
        access.fail("append", 3, fault);
        let started = order(&worker).await;
        assert_eq!(verdict(&started).await, Verdict::Completed, "{fault:?}");
        world.assert_whole(started.id);
        assert_eq!(world.desk.arrivals().len(), 4, "nothing was called twice: {fault:?}");
        let log = world.memory.log(started.id, 0, 100).await.unwrap();
        let seqs: Vec<_> = log.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_outcome_is_unknown_leaves_no_orphan() {
    for fault in [Fault::After, Fault::Before, Fault::Late(Duration::from_secs(4))] {
        let world = World::new();
        let access = world.access();
        world.desk.always("confirm", ACTION, Behave::Reject);
        let worker = world.builder(&access).start().await.unwrap();
        let started = order(&worker).await;
        world.settled(started.id, Status::Stuck).await;
        // A refused command leads to a look and a release without an append.
        access.fail("release", 2, fault);
        tell(&worker, started.id, saga_core::CommandAction::Resume).await.unwrap_err();
        world.settled(started.id, Status::Stuck).await;
        world.desk.always("confirm", ACTION, Behave::Answer);
        tell(&worker, started.id, saga_core::CommandAction::Retry).await.unwrap();
        assert_eq!(verdict(&started).await, Verdict::Completed, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn looking_for_strays_never_drives_a_saga_twice() {
    // Loads are slow, so that a saga just claimed is not yet at work when strays are looked for.
    let world = World::new();
    let access = world.access();
    let mut sagas = Vec::new();
    for _ in 0..20 {
        sagas.push(order(&world.client()).await);
    }
    let claims = std::sync::atomic::AtomicU32::new(0);
    access.plan(move |op| match op {
        "load" => Some(Fault::Slow(Duration::from_secs(2))),
        "claim" => {
            let number = claims.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (number % 2 == 1).then_some(Fault::After)
        }
        _ => None,
    });
    let builder = world.builder(&access).poll_interval(Duration::from_millis(100));
    let _worker = builder.start().await.unwrap();
    for started in &sagas {
        assert_eq!(verdict(started).await, Verdict::Completed);
    }
    assert_eq!(world.desk.arrivals().len(), 4 * sagas.len(), "no call was made twice");
    assert_eq!(access.faults().get("fenced"), None, "nobody stood in its own way");
}

#[tokio::test(start_paused = true)]
async fn a_worker_enlists_only_with_a_store_and_says_what_is_wrong_without() {
    let world = World::new();
    let access = world.access();
    access.go_down();
    let refused = world.builder(&access).start().await.unwrap_err().to_string();
    assert!(refused.contains("not available"), "{refused}");
    assert!(world.memory.workers().await.unwrap().is_empty());
}
