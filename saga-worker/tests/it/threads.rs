//! Real threads and real time: races that a single thread in virtual time cannot show.

use std::time::Duration;

use futures_util::future::join_all;
use saga_core::store::{Leases, SagaLog};
use saga_core::{BreakerPolicy, Definition, RetryPolicy, Stage, Step, Verdict};
use saga_worker::Worker;
use tokio::time::sleep;

use crate::support::{ACTION, Behave, Fault, World, within_an_hour};

/// [`World::place_order`] with short delays.
fn hasty(world: &World) -> Definition {
    let hasty = |step: Step| {
        let retry =
            RetryPolicy::new(50, Duration::from_millis(20)).capped(Duration::from_millis(50));
        // Every saga's first call fails, which is no reason to leave the participant alone.
        let lenient = BreakerPolicy { failures_to_open: u32::MAX, ..BreakerPolicy::default() };
        let step = step.breaker(lenient);
        step.retry(retry.clone()).compensation_retry(retry).timeout(Duration::from_millis(100))
    };
    let steps: [Stage; 4] = [
        hasty(world.desk.compensatable("reserve")).into(),
        hasty(world.desk.compensatable("redeem")).into(),
        hasty(world.desk.pivot("pay")).into(),
        hasty(world.desk.retriable("confirm")).into(),
    ];
    Definition::new("place-order", steps).unwrap()
}

/// A worker whose lease and polls are short, and whose store fails now and then.
async fn worker(world: &World) -> Worker {
    let access = world.access();
    let builder = world.builder_of(&access, hasty(world));
    let builder = builder.lease_ttl(Duration::from_millis(500));
    let worker = builder.poll_interval(Duration::from_millis(20)).start().await.unwrap();
    let calls = std::sync::atomic::AtomicU32::new(0);
    access.plan(move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 40 {
        7 => Some(Fault::Before),
        13 => Some(Fault::After),
        29 => Some(Fault::Slow(Duration::from_millis(5))),
        _ => None,
    });
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_that_come_and_go_on_many_threads_leave_each_effect_once() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::FailAfter);
    world.desk.first("pay", ACTION, Behave::Slow(Duration::from_millis(5)));
    let mut workers = vec![worker(&world).await, worker(&world).await, worker(&world).await];
    let client = workers[0].client().clone();
    let customers = (0..300_u32).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(u64::from(number) * 4)).await;
            loop {
                let start = client.start("place-order", &number).key(format!("order-{number}"));
                match start.await {
                    Ok(started) => return started,
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        })
    });
    let customers: Vec<_> = customers.collect();
    for round in 0..8 {
        sleep(Duration::from_millis(150)).await;
        match round % 4 {
            0 => world.expire_leases().await,
            1 => drop(workers.remove(2)),
            2 => drop(workers.remove(1).shutdown().await),
            _ => {}
        }
        while workers.len() < 3 {
            workers.push(worker(&world).await);
        }
    }
    for customer in customers {
        let id = customer.await.unwrap().id;
        let outsider = world.client();
        let verdict = tokio::time::timeout(Duration::from_secs(60), outsider.verdict(id)).await;
        assert_eq!(verdict.expect("within a minute").unwrap(), Verdict::Completed);
        world.assert_whole(id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn starts_that_race_a_shutdown_are_all_handed_back() {
    let world = World::new();
    for round in 0..30_u64 {
        let worker = world.worker().await;
        let starts: Vec<_> = (0..8)
            .map(|number: u64| {
                let start = worker.start("place-order", &number);
                tokio::spawn(async move {
                    sleep(Duration::from_micros(number * round * 5)).await;
                    start.await.unwrap()
                })
            })
            .collect();
        sleep(Duration::from_micros(round * 10)).await;
        worker.shutdown().await;
        assert!(world.memory.workers().await.unwrap().is_empty(), "no lease is left");
        let started: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
        for started in &started {
            let row = world.memory.row(started.id).await.unwrap().unwrap();
            assert_eq!(row.owner, None, "round {round}: {row:?}");
        }
        let other = world.worker().await;
        for started in &started {
            assert_eq!(
                within_an_hour(other.verdict(started.id)).await.unwrap(),
                Verdict::Completed
            );
            world.assert_whole(started.id);
        }
        other.shutdown().await;
    }
}
