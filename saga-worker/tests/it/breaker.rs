//! The breaker between the sagas of a worker and a participant in trouble.

use std::time::Duration;

use futures_util::future::join_all;
use saga_core::{
    BreakerPolicy, BreakerState, Definition, RetryPolicy, Stage, Status, Verdict, WaitReason,
};
use saga_worker::Worker;
use tokio::time::{Instant, sleep};

use crate::support::{ACTION, Behave, COMPENSATION, World, verdict, within_an_hour};

/// Opens after 4 failures for 100 s, one probe.
fn touchy() -> BreakerPolicy {
    BreakerPolicy {
        failures_to_open: 4,
        calls_min: 4,
        open_ms: 100_000,
        probes_max: 1,
        probes_to_close: 1,
        wave_calls: 2,
        wave_ms: 10_000,
        waves: 3,
        ..BreakerPolicy::default()
    }
}

/// `reserve`, then `pay` behind a touchy breaker with many attempts.
fn guarded(world: &World) -> Definition {
    let retry = RetryPolicy::new(20, Duration::from_millis(10)).capped(Duration::from_millis(10));
    let steps: [Stage; 2] = [
        world.desk.compensatable("reserve").into(),
        world.desk.compensatable("pay").breaker(touchy()).retry(retry).into(),
    ];
    Definition::new("guarded", steps).unwrap()
}

async fn worker(world: &World) -> Worker {
    world.builder_of(&world.access(), guarded(world)).start().await.unwrap()
}

fn state(worker: &Worker, participant: &str) -> BreakerState {
    let views = worker.breakers();
    let found = views.iter().find(|view| view.participant == participant && view.op == ACTION);
    found.expect("it was called").state
}

#[tokio::test(start_paused = true)]
async fn while_the_breaker_is_open_sagas_wait_for_that_reason_and_spend_no_attempt() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Fail);
    let worker = worker(&world).await;
    let first = worker.start("guarded", &()).await.unwrap();
    world.desk.arrived("pay", ACTION, 4).await;
    world.settled(first.id, Status::Running).await;
    assert_eq!(state(&worker, "pay"), BreakerState::Open);
    let second = worker.start("guarded", &()).await.unwrap();
    world.settled(second.id, Status::Running).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.desk.arrivals_of("pay", ACTION).len(), 4, "nobody calls");
    let view = world.view(second.id).await;
    assert_eq!(view.steps[1].attempts, 0);
    let wait = view.wait.unwrap();
    let WaitReason::BreakerOpen { step, until, .. } = &wait.reason else { panic!("{wait:?}") };
    let listed = worker.breakers().into_iter().find(|breaker| breaker.open_until.is_some());
    assert_eq!((step.as_str(), Some(*until)), ("pay", listed.and_then(|open| open.open_until)));
    assert!(wait.text.starts_with("breaker of pay is open"), "{}", wait.text);
    world.desk.always("pay", ACTION, Behave::Answer);
    assert_eq!(verdict(&first).await, Verdict::Completed);
    assert_eq!(verdict(&second).await, Verdict::Completed);
    assert_eq!(world.view(second.id).await.steps[1].attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn compensations_pass_while_the_breaker_of_the_actions_is_open() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::FailAfter);
    let worker = worker(&world).await;
    let started = worker.start("guarded", &()).await.unwrap();
    world.desk.arrived("pay", ACTION, 4).await;
    world.settled(started.id, Status::Running).await;
    assert_eq!(state(&worker, "pay"), BreakerState::Open);
    worker.cancel(started.id, "olga", "took too long").await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(state(&worker, "pay"), BreakerState::Open);
    assert_eq!(world.effects(started.id, "pay"), (1, 1));
    assert_eq!(world.desk.arrivals_of("pay", COMPENSATION).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_released_in_waves() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Fail);
    let worker = worker(&world).await;
    let opener = worker.start("guarded", &()).await.unwrap();
    world.desk.arrived("pay", ACTION, 4).await;
    world.settled(opener.id, Status::Running).await;
    let starts = (0..30).map(|_| worker.start("guarded", &()).into_future());
    let started: Vec<_> = join_all(starts).await.into_iter().map(Result::unwrap).collect();
    for one in &started {
        world.settled(one.id, Status::Running).await;
    }
    world.desk.always("pay", ACTION, Behave::Answer);
    // The probe is the fifth call; it closes the breaker.
    world.desk.arrived("pay", ACTION, 5).await;
    let closed = Instant::now();
    sleep(Duration::from_secs(5)).await;
    let first_wave = world.desk.arrivals_of("pay", ACTION).len();
    assert!(first_wave <= 5 + 2, "two calls in the first wave, not {}", first_wave - 5);
    within_an_hour(join_all(started.iter().map(verdict))).await;
    assert!(closed.elapsed() >= Duration::from_secs(20), "not all at once: {:?}", closed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_probe_given_up_with_its_saga_frees_its_place() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Fail);
    let worker = worker(&world).await;
    let opener = worker.start("guarded", &()).await.unwrap();
    world.desk.arrived("pay", ACTION, 4).await;
    world.settled(opener.id, Status::Running).await;
    // The only probe hangs, and its saga is stopped under it.
    world.desk.always("pay", ACTION, Behave::Hang);
    world.desk.arrived("pay", ACTION, 5).await;
    worker
        .command(opener.id, crate::support::command("stop", saga_core::CommandAction::Stop))
        .await
        .unwrap();
    world.desk.always("pay", ACTION, Behave::Answer);
    let next = worker.start("guarded", &()).await.unwrap();
    assert_eq!(verdict(&next).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_lost_with_the_lease_frees_its_place() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Fail);
    let worker = worker(&world).await;
    let opener = worker.start("guarded", &()).await.unwrap();
    world.desk.arrived("pay", ACTION, 4).await;
    world.settled(opener.id, Status::Running).await;
    sleep(Duration::from_secs(96)).await;
    world.desk.always("pay", ACTION, Behave::Hang);
    world.desk.arrived("pay", ACTION, 5).await;
    world.expire_leases().await;
    world.desk.always("pay", ACTION, Behave::Answer);
    assert_eq!(verdict(&opener).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn sagas_that_wait_for_a_breaker_take_no_room_from_others() {
    let world = World::new();
    world.desk.always("reserve", ACTION, Behave::Fail);
    let step = world.desk.compensatable("reserve").breaker(touchy());
    let retry = RetryPolicy::new(20, Duration::from_millis(10)).capped(Duration::from_millis(10));
    let dark = Definition::new("dark", [step.retry(retry)]).unwrap();
    let light = Definition::new("light", [world.desk.retriable("other")]).unwrap();
    let builder = world.builder_of(&world.access(), dark).register(light);
    let worker = builder.concurrency_max(2).start().await.unwrap();
    let opener = worker.start("dark", &()).await.unwrap();
    world.desk.arrived("reserve", ACTION, 4).await;
    world.settled(opener.id, Status::Running).await;
    // Their very first call is held back.
    for _ in 0..5 {
        worker.start("dark", &()).await.unwrap();
    }
    let begun = Instant::now();
    let other = worker.start("light", &()).await.unwrap();
    assert_eq!(verdict(&other).await, Verdict::Completed);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
