//! Bounds under load: sagas at once, calls to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use saga_core::{BreakerPolicy, Definition, Failure, Input, Status, Step, Verdict};
use tokio::time::sleep;

use crate::support::{ACTION, Behave, World, order, verdict, within_an_hour};

#[tokio::test(start_paused = true)]
async fn no_more_sagas_are_driven_at_once_than_allowed() {
    let world = World::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (now.clone(), most.clone());
    let work = move || {
        let (now, most) = (counted.clone(), highest.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Failure>(())
        }
    };
    let definition = Definition::new("work", [Step::retriable("work", work)]).unwrap();
    let builder = world.builder_of(&world.access(), definition).concurrency_max(7);
    let worker = builder.start().await.unwrap();
    let starts = (0..100).map(|_| worker.start("work", &()).into_future());
    let started: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
    let verdicts = within_an_hour(join_all(started.iter().map(verdict))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Completed));
    assert_eq!(most.load(Ordering::SeqCst), 7);
}

#[tokio::test(start_paused = true)]
async fn a_start_runs_at_once_however_much_is_due() {
    let world = World::new();
    let work = |Input(takes_ms): Input<u64>| async move {
        sleep(Duration::from_millis(takes_ms)).await;
        Ok::<_, Failure>(())
    };
    let definition = Definition::new("work", [Step::retriable("work", work)]).unwrap();
    let builder = world.builder_of(&world.access(), definition).concurrency_max(16);
    let worker = builder.start().await.unwrap();
    let client = world.client();
    let mut due = Vec::new();
    for _ in 0..100 {
        due.push(client.start("work", &1_000_u64).await.unwrap());
    }
    // Some have been claimed, as many as may be.
    sleep(Duration::from_millis(1_500)).await;
    let begun = world.clock.elapsed();
    let started = worker.start("work", &1_u64).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    let took = world.clock.elapsed() - begun;
    assert!(took < Duration::from_millis(100), "it waited for {took:?} behind what was due");
    let verdicts = within_an_hour(join_all(due.iter().map(verdict))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Completed));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiting_sagas_and_an_idle_worker_make_few_calls_to_the_store() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::NotYet(Duration::from_secs(3_600)));
    let lenient = BreakerPolicy { failures_to_open: u32::MAX, ..BreakerPolicy::default() };
    let step = world.desk.compensatable("reserve").breaker(lenient);
    let definition = Definition::new("patient", [step]).unwrap();
    let access = world.access();
    let worker = world.builder_of(&access, definition).start().await.unwrap();
    let starts = (0..1_000).map(|_| worker.start("patient", &()).into_future());
    let started = join_all(starts).await;
    world.desk.arrived("reserve", ACTION, 1_000).await;
    for started in started {
        world.settled(started.unwrap().id, Status::Running).await;
    }
    let calls = || access.calls().values().sum::<u64>();
    let before = calls();
    sleep(Duration::from_secs(100)).await;
    let per_second = (calls() - before) as f64 / 100.0;
    assert!(per_second < 3.0, "{per_second} calls a second: {:?}", access.calls());
}

#[tokio::test(start_paused = true)]
async fn a_full_worker_makes_few_calls_to_the_store_for_room() {
    let world = World::new();
    // No two of them end at the same moment.
    let calls = AtomicU64::new(0);
    world.desk.script("reserve", ACTION, move |_| {
        let ms = 100 + calls.fetch_add(1, Ordering::SeqCst) * 7 % 100;
        Behave::Slow(Duration::from_millis(ms))
    });
    let access = world.access();
    let worker = world.builder(&access).concurrency_max(64).start().await.unwrap();
    let client = world.client();
    let mut started = Vec::new();
    for _ in 0..1_000 {
        started.push(order(&client).await);
    }
    within_an_hour(join_all(started.iter().map(verdict))).await;
    let claims = access.calls()["claim"];
    assert!(claims < 200, "{claims} claims for 1,000 sagas");
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_finds_what_others_leave_within_a_poll() {
    let world = World::new();
    let _worker = world.worker().await;
    sleep(Duration::from_secs(100)).await;
    let started = order(&world.client()).await;
    world.desk.arrived("confirm", ACTION, 1).await;
    assert!(world.clock.elapsed() <= Duration::from_millis(101_001), "{:?}", world.clock.elapsed());
    assert_eq!(verdict(&started).await, Verdict::Completed);
}
