//! An action that blocks its thread, where no token and no drop can reach it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use saga_core::store::{Leases, SagaLog};
use saga_core::{Definition, Failure, Step, Verdict};
use saga_worker::{Client, Started, Worker};
use tokio::time::sleep;

use crate::support::{Logs, World};

/// Seconds that nothing here should take, however busy the machine.
const LONG: u64 = 60;

/// A door on which threads, not tasks, wait.
#[derive(Default)]
struct Door {
    /// Callers that have come, and whether the door is open.
    state: Mutex<(u32, bool)>,
    changed: Condvar,
}

impl Door {
    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn callers(&self) -> u32 {
        self.state.lock().unwrap().0
    }
}

/// Opens a door in the end, also of a test that fails: the runtime waits for all its threads.
struct OpenInTheEnd(Arc<Door>);

impl Drop for OpenInTheEnd {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A saga that blocks the thread which drives it, in one process; in the other it does not.
fn blocking(door: &Arc<Door>) -> Definition {
    let door = door.clone();
    let block = move || {
        door.wait();
        async { Ok::<(), Failure>(()) }
    };
    async fn undo() -> Result<(), Failure> {
        Ok(())
    }
    Definition::new("block", [Step::compensatable("press", block, undo)]).unwrap()
}

async fn worker(world: &World, door: &Arc<Door>) -> Worker {
    let access = world.access();
    let builder = world.builder(&access).register(blocking(door)).cancel_grace(Duration::ZERO);
    let builder = builder.lease_ttl(Duration::from_millis(500)).drain_timeout(Duration::ZERO);
    builder.poll_interval(Duration::from_millis(20)).start().await.unwrap()
}

async fn within(seconds: u64, what: &str, condition: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn start_of_block(client: &Client, door: &Door) -> Started {
    let blocked = client.start("block", &()).await.unwrap();
    within(LONG, "the action is under way", async || door.callers() == 1).await;
    blocked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_action_keeps_only_its_own_saga_from_a_worker_that_lost_its_lease() {
    Logs::listen();
    let (world, door, elsewhere) = (World::new(), Arc::<Door>::default(), Arc::<Door>::default());
    let _in_the_end = OpenInTheEnd(door.clone());
    elsewhere.open();
    let worker = worker(&world, &door).await;
    let blocked = start_of_block(&worker, &door).await;
    let before = world.memory.workers().await.unwrap()[0].card.id;
    world.expire_leases().await;
    let enlisted = async || {
        let workers = world.memory.workers().await.unwrap();
        workers.iter().any(|worker| worker.card.id != before)
    };
    within(LONG, "it enlists again", enlisted).await;
    let said = Logs::with(&[&blocked.id.to_string(), "press", "blocks its thread"]);
    assert_eq!(said.len(), 1, "{said:?}");
    // Everything else goes on.
    let order = worker.start("place-order", &()).await.unwrap();
    let ended = order.verdict_within(Duration::from_secs(LONG)).await.unwrap();
    assert_eq!(ended, Some(Verdict::Completed));
    // Its own saga is declined, not called again beside the call that is still under way.
    let declined =
        async || !Logs::with(&[&blocked.id.to_string(), "leaving the saga to others"]).is_empty();
    within(LONG, "it declines the saga", declined).await;
    assert_eq!(door.callers(), 1);
    // Another process may drive it.
    let other = self::worker(&world, &elsewhere).await;
    let ended = other.verdict_within(blocked.id, Duration::from_secs(LONG)).await.unwrap();
    assert_eq!(ended, Some(Verdict::Completed));
    assert_eq!((door.callers(), elsewhere.callers()), (1, 1));
    let log = world.memory.log(blocked.id, 0, 100).await.unwrap();
    door.open();
    worker.shutdown().await;
    assert_eq!(world.memory.log(blocked.id, 0, 100).await.unwrap(), log, "it came too late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_saga_is_driven_again_once_the_call_that_blocked_has_ended() {
    let (world, door) = (World::new(), Arc::<Door>::default());
    let _in_the_end = OpenInTheEnd(door.clone());
    let worker = worker(&world, &door).await;
    let blocked = start_of_block(&worker, &door).await;
    world.expire_leases().await;
    within(LONG, "its lease is lost", async || {
        let row = world.memory.row(blocked.id).await.unwrap().unwrap();
        row.epoch > 0
    })
    .await;
    door.open();
    let ended = blocked.verdict_within(Duration::from_secs(LONG)).await.unwrap();
    assert_eq!(ended, Some(Verdict::Completed));
    assert_eq!(door.callers(), 2, "the first came to an end before the second began");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_action_does_not_keep_a_worker_from_shutting_down() {
    Logs::listen();
    let (world, door) = (World::new(), Arc::<Door>::default());
    let _in_the_end = OpenInTheEnd(door.clone());
    let worker = worker(&world, &door).await;
    let blocked = start_of_block(&worker, &door).await;
    let drained = tokio::time::timeout(Duration::from_secs(LONG), worker.shutdown()).await;
    assert!(drained.expect("it comes to an end").gave_up);
    let said = Logs::with(&[&blocked.id.to_string(), "press", "blocks its thread"]);
    assert_eq!(said.len(), 1, "{said:?}");
    let owner = world.memory.row(blocked.id).await.unwrap().unwrap().owner;
    assert!(owner.is_some(), "only the end of the lease frees what may still be under way");
    door.open();
}
