//! What has ended leaves after its age; what is alive stays.

use std::time::Duration;

use futures_util::future::join_all;
use saga_core::store::{Query, SagaLog};
use saga_core::{Status, Verdict};
use saga_worker::ClientError;
use tokio::time::sleep;

use crate::support::{ACTION, Behave, COMPENSATION, World, order, verdict};

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_finished_saga_leaves_after_its_age_and_not_before() {
    let world = World::new();
    let worker = world.builder(&world.access()).retention(HOUR).start().await.unwrap();
    let completed = order(&worker).await;
    assert_eq!(verdict(&completed).await, Verdict::Completed);
    world.desk.always("pay", ACTION, Behave::RejectForGood);
    let compensated = order(&worker).await;
    assert_eq!(verdict(&compensated).await, Verdict::Compensated);

    sleep(HOUR - MINUTE).await;
    assert_eq!(worker.verdict(completed.id).await.unwrap(), Verdict::Completed);
    assert_eq!(worker.verdict(compensated.id).await.unwrap(), Verdict::Compensated);
    sleep(MINUTE * 3).await;
    for id in [completed.id, compensated.id] {
        assert!(matches!(worker.verdict(id).await, Err(ClientError::NotFound { .. })));
        assert!(world.memory.log(id, 0, 100).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_or_stuck_saga_never_leaves() {
    let world = World::new();
    let builder = world.builder(&world.access()).retention(Duration::from_secs(1));
    let worker = builder.poll_interval(MINUTE).start().await.unwrap();
    world.desk.always("confirm", ACTION, Behave::Reject);
    let stuck = order(&worker).await;
    world.settled(stuck.id, Status::Stuck).await;
    world.desk.always("reserve", ACTION, Behave::NotYet(HOUR));
    let waiting = order(&worker).await;
    world.desk.arrived("reserve", ACTION, 2).await;
    let before = world.memory.load(stuck.id).await.unwrap();
    sleep(MINUTE * 100).await;
    assert_eq!(world.memory.load(stuck.id).await.unwrap(), before);
    let row = world.memory.row(waiting.id).await.unwrap().unwrap();
    assert_eq!(row.summary.status, Status::Running);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_was_undone_for_longer_than_the_age_is_kept_from_its_verdict_on() {
    let world = World::new();
    let worker = world.builder(&world.access()).retention(HOUR).start().await.unwrap();
    world.desk.always("pay", ACTION, Behave::RejectForGood);
    world.desk.first("reserve", COMPENSATION, Behave::NotYet(HOUR));
    let started = order(&worker).await;
    sleep(HOUR + MINUTE * 30).await;
    assert_eq!(worker.verdict(started.id).await.unwrap(), Verdict::Compensated);
    sleep(HOUR).await;
    assert_eq!(world.memory.row(started.id).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn without_an_age_everything_is_kept() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).poll_interval(HOUR).start().await.unwrap();
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    sleep(HOUR * 12).await;
    assert!(world.memory.row(started.id).await.unwrap().is_some());
    assert_eq!(access.calls().get("forget"), None);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_saga_that_left_starts_a_new_one() {
    let world = World::new();
    let worker = world.builder(&world.access()).retention(HOUR).start().await.unwrap();
    let start = || worker.start("place-order", &17).key("order-17").into_future();
    let first = start().await.unwrap();
    assert_eq!(verdict(&first).await, Verdict::Completed);
    assert_eq!(start().await.unwrap().id, first.id);
    sleep(HOUR + MINUTE * 2).await;
    let second = start().await.unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(verdict(&second).await, Verdict::Completed);
    world.assert_whole(second.id);
}

#[tokio::test(start_paused = true)]
async fn many_workers_clear_a_backlog_together_with_few_calls() {
    let world = World::new();
    let accesses = [world.access(), world.access(), world.access(), world.access()];
    let mut workers = Vec::new();
    for access in &accesses {
        workers.push(world.builder(access).retention(HOUR).start().await.unwrap());
    }
    let orders = (0..400).map(|n| order(&workers[n % 4]));
    for started in join_all(orders).await {
        assert_eq!(verdict(&started).await, Verdict::Completed);
    }
    assert_eq!(verdicts_on_record(&world).await, 400);
    sleep(HOUR + MINUTE * 5).await;
    assert_eq!(verdicts_on_record(&world).await, 0);
    let calls: u64 = accesses.iter().map(|access| access.calls()["forget"]).sum();
    // Each worker looks about once a minute; four more calls did the work.
    assert!((4..4 * 150).contains(&calls), "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_worker_deletes_nothing_more() {
    let world = World::new();
    let access = world.access();
    let builder = world.builder(&access).retention(MINUTE).drain_timeout(HOUR);
    let worker = builder.start().await.unwrap();
    let ended = order(&worker).await;
    assert_eq!(verdict(&ended).await, Verdict::Completed);
    for step in ["reserve", "redeem", "pay", "confirm"] {
        world.desk.always(step, ACTION, Behave::Slow(Duration::from_secs(50)));
    }
    let client = worker.client().clone();
    order(&client).await;
    world.desk.arrived("reserve", ACTION, 2).await;
    let draining = tokio::spawn(worker.shutdown());
    sleep(Duration::from_secs(1)).await;
    let before = access.calls().get("forget").copied();
    draining.await.unwrap();
    assert_eq!(access.calls().get("forget").copied(), before);
    assert!(world.memory.row(ended.id).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn deleting_goes_on_after_an_outage() {
    let world = World::new();
    let access = world.access();
    let worker = world.builder(&access).retention(MINUTE).start().await.unwrap();
    let started = order(&worker).await;
    assert_eq!(verdict(&started).await, Verdict::Completed);
    access.plan(|op| (op == "forget").then_some(crate::support::Fault::Before));
    sleep(MINUTE * 10).await;
    assert!(world.memory.row(started.id).await.unwrap().is_some());
    access.heal();
    sleep(MINUTE).await;
    assert_eq!(world.memory.row(started.id).await.unwrap(), None);
}

async fn verdicts_on_record(world: &World) -> usize {
    let mut found = 0;
    let mut query = Query { limit: 500, ..Query::default() };
    loop {
        let page = world.memory.find(&query).await.unwrap();
        let Some(last) = page.last() else { return found };
        query.before = Some(last.id);
        found += page.iter().filter(|row| row.summary.ended_at.is_some()).count();
    }
}
