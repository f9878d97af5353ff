//! One attempt: timeout, token, grace, panic, idempotency key.

use std::collections::BTreeSet;
use std::time::Duration;

use saga_core::{Event, TransientCause, Verdict};

use crate::support::{ACTION, Behave, COMPENSATION, World, order, verdict};

async fn causes(world: &World, saga: saga_core::SagaId) -> Vec<TransientCause> {
    let events = world.events(saga).await;
    let cause = |event: Event| match event {
        Event::StepFailed { failure, .. } => Some(failure.cause),
        _ => None,
    };
    events.into_iter().filter_map(cause).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_is_unknown_retried_with_the_same_key_and_then_compensated() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::Hang);
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(causes(&world, started.id).await, [TransientCause::Timeout; 3]);
    let arrivals = world.desk.arrivals_of("redeem", ACTION);
    let keys: BTreeSet<_> = arrivals.iter().map(|arrival| arrival.key.clone()).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(arrivals.iter().map(|arrival| arrival.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let undo = &world.desk.arrivals_of("redeem", COMPENSATION)[0];
    assert!(!keys.contains(&undo.key), "a compensation has a key of its own");
    assert_eq!(world.effects(started.id, "redeem"), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_fires_the_token_and_leaves_time_for_a_clean_end() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::CleanUpWhenTold);
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.desk.cleaned_up(), 1);
    assert_eq!(causes(&world, started.id).await, [TransientCause::Timeout]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_answers_within_the_grace_after_its_timeout_is_processed() {
    let world = World::new();
    world.desk.always("redeem", ACTION, Behave::FinishWhenTold);
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(world.desk.arrivals_of("redeem", ACTION).len(), 1);
    assert!(world.clock.elapsed() >= Duration::from_secs(3), "the timeout is 3 s");
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_still_busy_after_the_grace_is_dropped_and_unknown() {
    let world = World::new();
    world.desk.first("redeem", ACTION, Behave::Slow(Duration::from_millis(3_101)));
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(causes(&world, started.id).await, [TransientCause::Timeout]);
    world.assert_whole(started.id);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_unknown_wherever_it_happens_and_the_worker_lives_on() {
    let world = World::new();
    world.desk.script("redeem", ACTION, |attempt| match attempt {
        1 => Behave::Panic,
        2 => Behave::PanicLater,
        _ => Behave::Answer,
    });
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert_eq!(causes(&world, started.id).await, [TransientCause::Panicked; 2]);
    let words = world.words(started.id).await.join("\n");
    assert!(words.contains("a participant lost its head"), "{words}");
    assert_eq!(verdict(&order(&worker).await).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_fails_is_tried_again_until_it_succeeds() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Reject);
    world.desk.script("redeem", COMPENSATION, |attempt| match attempt {
        1 => Behave::Panic,
        2 => Behave::Hang,
        3 => Behave::FailAfter,
        _ => Behave::Answer,
    });
    let worker = world.worker().await;
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Compensated);
    assert_eq!(world.effects(started.id, "redeem"), (1, 1));
    assert_eq!(world.effects(started.id, "reserve"), (1, 1));
}
