//! Workers of two releases on one store: what the older one does with what the newer one wrote.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::store::{Append, Claim, Inbox, Leases, SagaLog, WorkerCard};
use saga_core::{CommandAction, LogHead, LogRow, SagaId, Status, Verdict, WaitReason, WorkerId};
use saga_worker::CommandError;
use tokio::time::sleep;

use crate::support::{Fault, World, order, tell, verdict};

/// A body of this length, with the digest that the chain asks for.
fn sealed(head: LogHead, epoch: u64, at: saga_core::Timestamp, body: &str) -> LogRow {
    let (seq, framed) = (head.seq + 1, at.as_micros().to_be_bytes());
    let parts: [&[u8]; 5] = [
        head.digest.as_bytes(),
        &seq.to_be_bytes(),
        &epoch.to_be_bytes(),
        &framed,
        body.as_bytes(),
    ];
    LogRow { seq, epoch, at, body: body.to_owned(), digest: saga_core::Digest::of(&parts) }
}

/// A worker of another release appends a row to a saga and goes.
async fn visit(world: &World, id: SagaId, body: &str) {
    visit_and_leave(world, id, body, |_| {}).await;
}

/// The same, with what the state row says afterwards.
async fn visit_and_leave(
    world: &World,
    id: SagaId,
    body: &str,
    left: impl FnOnce(&mut saga_core::store::Summary),
) {
    let visitor = WorkerId::from_bytes([9; 16]);
    let definitions = vec![world.place_order().spec().reference()];
    let card =
        WorkerCard { id: visitor, name: "newer".to_owned(), definitions: definitions.clone() };
    world.memory.enlist(&card, Duration::from_secs(1)).await.unwrap();
    let claim = Claim { worker: visitor, definitions, limit: 1 };
    let mut row = world.memory.claim(&claim).await.unwrap().remove(0);
    left(&mut row.summary);
    let log = world.memory.log(id, 0, 100).await.unwrap();
    let last = sealed(log.last().unwrap().head(), row.epoch, row.started_at, body);
    let append = Append { id, owner: visitor, row: last, summary: row.summary, release: true };
    world.memory.append(append).await.unwrap();
    world.memory.retire(visitor).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_release_wrote_is_left_to_it_and_shown_as_such() {
    let world = World::new();
    let started = order(&world.client()).await;
    visit(&world, started.id, r#"[{"moon_landed":{"step":0}}]"#).await;
    let access = world.access();
    let _older = world.builder(&access).start().await.unwrap();
    sleep(Duration::from_secs(600)).await;
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!((row.seq, row.summary.status), (2, Status::Running), "it is a healthy saga");
    assert!(world.desk.arrivals().is_empty());
    let loads = access.calls()["load"];
    assert!((60..=240).contains(&loads), "it looks now and then: {loads} in 600 s");
    let view = world.view(started.id).await;
    assert_eq!((view.status, view.seq), (Status::Running, 1));
    let wait = view.wait.unwrap();
    assert_eq!(wait.reason, WaitReason::NewerRelease { seq: 2 });
    assert!(wait.text.contains("only a worker of that release can go on"), "{}", wait.text);
}

#[tokio::test(start_paused = true)]
async fn a_command_for_a_saga_of_a_newer_release_waits_for_it_without_a_hot_loop() {
    let world = World::new();
    let started = order(&world.client()).await;
    visit(&world, started.id, r#"[{"moon_landed":{"step":0}}]"#).await;
    let access = world.access();
    let builder = world.builder(&access).poll_interval(Duration::from_millis(50));
    let older = builder.start().await.unwrap();
    let answer = tell(&world.client(), started.id, CommandAction::Pause).await;
    assert!(matches!(answer, Err(CommandError::Unanswered { .. })), "{answer:?}");
    let before = access.calls()["load"];
    sleep(Duration::from_secs(100)).await;
    let loads = access.calls()["load"] - before;
    assert!((5..=40).contains(&loads), "{loads} in 100 s");
    // Between two looks it is free, for a worker of the newer release too.
    older.shutdown().await;
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert_eq!((row.owner, row.seq), (None, 2));
    assert_eq!(world.memory.workers().await.unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn sagas_of_a_newer_release_take_no_room_from_those_of_this_one() {
    let world = World::new();
    let foreign = order(&world.client()).await;
    visit(&world, foreign.id, r#"[{"moon_landed":{"step":0}}]"#).await;
    let worker = world.builder(&world.access()).concurrency_max(1).start().await.unwrap();
    drop(tell(&world.client(), foreign.id, CommandAction::Pause).await);
    let begun = world.clock.elapsed();
    let own = order(&worker).await;
    assert_eq!(verdict(&own).await, Verdict::Completed);
    assert!(world.clock.elapsed() - begun < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_no_json_although_it_fits_the_chain_is_damage() {
    let world = World::new();
    let started = order(&world.client()).await;
    visit(&world, started.id, r#"[{"worker_lo"#).await;
    let _worker = world.worker().await;
    world.settled(started.id, Status::Stuck).await;
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    let wait = row.summary.wait.unwrap().to_string();
    assert!(wait.contains("log row 2 cannot be read"), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_last_row_the_store_cannot_read_ends_stuck_too() {
    let world = World::new();
    let started = order(&world.client()).await;
    let access = world.access();
    let damaged = AtomicBool::new(true);
    access.plan(move |op| {
        let reads = matches!(op, "load" | "log") && damaged.load(Ordering::Relaxed);
        reads.then_some(Fault::Corrupt)
    });
    let _worker = world.builder(&access).start().await.unwrap();
    world.settled(started.id, Status::Stuck).await;
    assert!(world.clock.elapsed() < Duration::from_secs(2), "{:?}", world.clock.elapsed());
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    assert!(row.summary.wait.unwrap().to_string().contains("load found nonsense"));
    let loads = access.calls()["load"];
    sleep(Duration::from_secs(600)).await;
    assert_eq!(access.calls()["load"], loads, "nobody tries it again");
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_saga_that_a_newer_release_has_ended_is_that_releases_to_answer() {
    let world = World::new();
    let started = order(&world.client()).await;
    // The row may well hold the command: this release cannot tell.
    let end = |summary: &mut saga_core::store::Summary| {
        summary.status = Status::Stopped;
        summary.ended_at = Some(saga_core::Timestamp::from_micros(1));
    };
    visit_and_leave(&world, started.id, r#"[{"moon_landed":{"step":0}}]"#, end).await;
    let access = world.access();
    let _older = world.builder(&access).start().await.unwrap();
    let answer = tell(&world.client(), started.id, CommandAction::Stop).await;
    assert!(matches!(answer, Err(CommandError::Unanswered { .. })), "{answer:?}");
    assert_eq!(world.memory.commands(started.id).await.unwrap().len(), 1, "still open");
    assert_eq!(access.calls().get("answer"), None, "the older worker has not answered it either");
}
