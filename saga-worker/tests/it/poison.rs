//! Sagas that kill their workers, and logs that cannot be trusted.

use std::time::Duration;

use saga_core::store::{Append, Leases, SagaLog, WorkerCard};
use saga_core::{CommandAction, LogRow, SagaId, Status, Verdict, WorkerId};
use saga_worker::CommandError;
use tokio::time::sleep;

use crate::support::{ACTION, Behave, Fault, World, order, tell, verdict};

#[tokio::test(start_paused = true)]
async fn a_saga_whose_workers_die_one_after_the_other_ends_stuck() {
    let world = World::new();
    world.desk.always("pay", ACTION, Behave::Hang);
    let mut worker = world.builder(&world.access()).losses_max(3).start().await.unwrap();
    let started = order(&worker).await;
    for loss in 1..=3 {
        world.desk.arrived("pay", ACTION, loss).await;
        drop(worker);
        worker = world.builder(&world.access()).losses_max(3).start().await.unwrap();
    }
    world.settled(started.id, Status::Stuck).await;
    let view = world.view(started.id).await;
    let wait = view.wait.unwrap().text;
    assert!(
        wait.contains("3 workers in a row died, or lost their lease, while driving it"),
        "{wait}"
    );
    assert_eq!(world.desk.arrivals_of("pay", ACTION).len(), 3);
    // A person finds the cause, and it goes on.
    world.desk.always("pay", ACTION, Behave::Answer);
    tell(&worker, started.id, CommandAction::Retry).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

#[tokio::test(start_paused = true)]
async fn claims_without_any_progress_end_stuck() {
    let world = World::new();
    let started = order(&world.client()).await;
    let definitions = vec![world.place_order().spec().reference()];
    for number in 1..=10_u8 {
        // Claims it and is never heard of again.
        let id = WorkerId::from_bytes([number; 16]);
        let card = WorkerCard { id, name: "doomed".to_owned(), definitions: definitions.clone() };
        world.memory.enlist(&card, Duration::from_secs(1)).await.unwrap();
        let claim =
            saga_core::store::Claim { worker: id, definitions: definitions.clone(), limit: 1 };
        assert_eq!(world.memory.claim(&claim).await.unwrap().len(), 1);
        sleep(Duration::from_secs(1)).await;
    }
    let worker = world.worker().await;
    world.settled(started.id, Status::Stuck).await;
    assert!(world.desk.arrivals().is_empty());
    let wait = world.wait_text(started.id).await;
    assert!(wait.contains("10 workers in a row died"), "{wait}");
    tell(&worker, started.id, CommandAction::Retry).await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
}

/// Adds a row that no worker would write.
async fn damage(world: &World, id: SagaId) {
    let thief = WorkerId::from_bytes([9; 16]);
    let definitions = vec![world.place_order().spec().reference()];
    let card = WorkerCard { id: thief, name: "thief".to_owned(), definitions: definitions.clone() };
    world.memory.enlist(&card, Duration::from_secs(1)).await.unwrap();
    let claim = saga_core::store::Claim { worker: thief, definitions, limit: 1 };
    let row = world.memory.claim(&claim).await.unwrap().remove(0);
    let log = world.memory.log(id, 0, 100).await.unwrap();
    let sound = log.last().unwrap().head().seal(row.epoch, row.started_at, &[]);
    let row_damaged = LogRow { body: r#"[{"worker_lost":null}]"#.to_owned(), ..sound };
    let append = Append { id, owner: thief, row: row_damaged, summary: row.summary, release: true };
    world.memory.append(append).await.unwrap();
    world.memory.retire(thief).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_saga_with_a_damaged_log_ends_stuck_and_is_never_acted_upon() {
    let world = World::new();
    let started = order(&world.client()).await;
    damage(&world, started.id).await;
    let _worker = world.worker().await;
    world.settled(started.id, Status::Stuck).await;
    sleep(Duration::from_secs(300)).await;
    assert!(world.desk.arrivals().is_empty());
    let row = world.memory.row(started.id).await.unwrap().unwrap();
    let wait = row.summary.wait.unwrap().to_string();
    assert!(wait.contains("log row 2 does not fit the digest chain"), "{wait}");
    assert_eq!(row.seq, 3, "said once");
}

#[tokio::test(start_paused = true)]
async fn a_command_to_a_saga_with_a_damaged_log_is_refused_and_starts_no_loop() {
    let world = World::new();
    let started = order(&world.client()).await;
    damage(&world, started.id).await;
    let access = world.access();
    let worker = world.builder(&access).start().await.unwrap();
    world.settled(started.id, Status::Stuck).await;
    for client in [worker.client(), &world.client()] {
        let refused = tell(client, started.id, CommandAction::Retry).await.unwrap_err();
        assert!(matches!(refused, CommandError::Refused(_)), "{refused}");
        assert!(refused.to_string().contains("cannot be replayed"), "{refused}");
    }
    let before = access.calls()["claim"];
    sleep(Duration::from_secs(60)).await;
    assert!(access.calls()["claim"] - before < 100, "it polls at its usual pace");
    assert_eq!(
        world.memory.row(started.id).await.unwrap().unwrap().seq,
        3,
        "the log does not grow"
    );
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_can_neither_be_loaded_nor_let_go_of_is_taken_up_as_soon_as_it_can() {
    // The lease goes on all the while, so nobody else will ever take it.
    let world = World::new();
    let started = order(&world.client()).await;
    let access = world.access();
    let fails = |op: &str| matches!(op, "load" | "release");
    access.plan(move |op| fails(op).then_some(Fault::Before));
    let _worker = world.builder(&access).start().await.unwrap();
    // Not when all strays are looked for anyway, once in a lease.
    sleep(Duration::from_secs(41)).await;
    access.heal();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert!(world.clock.elapsed() < Duration::from_secs(46), "{:?}", world.clock.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_failed_load_does_not_make_a_saga_wait() {
    let world = World::new();
    let started = order(&world.client()).await;
    let access = world.access();
    access.fail("load", 3, Fault::Before);
    let _worker = world.builder(&access).start().await.unwrap();
    assert_eq!(verdict(&started).await, Verdict::Completed);
    assert!(world.clock.elapsed() < Duration::from_secs(2), "{:?}", world.clock.elapsed());
}
