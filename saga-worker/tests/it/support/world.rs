//! A shared store, a clock, participants, and short words for what tests do all the time.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Leases, SagaLog};
use saga_core::{
    Command, CommandAction, Definition, Event, IdempotencyKey, MemoryStore, Op, SagaId, SagaView,
    Stage, Status, Verdict,
};
use saga_worker::{Client, CommandError, Started, Worker, WorkerBuilder};
use tokio::time::{sleep, timeout};

use super::clock::VirtualClock;
use super::desk::{Desk, Effects};
use super::faulty_store::FaultyStore;

pub(crate) const LEASE: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) desk: Arc<Desk>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(VirtualClock::new());
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        Self { clock, memory, desk: Desk::new() }
    }

    /// An access of its own to the shared store.
    pub(crate) fn access(&self) -> Arc<FaultyStore> {
        Arc::new(FaultyStore::new(self.memory.clone()))
    }

    /// `reserve` and `redeem` compensatable, `pay` the pivot, `confirm` retriable.
    pub(crate) fn place_order(&self) -> Definition {
        self.define("place-order", [])
    }

    /// [`World::place_order`] under another name with more steps in front.
    pub(crate) fn define<const N: usize>(&self, name: &str, more: [Stage; N]) -> Definition {
        let desk = &self.desk;
        let usual: [Stage; 4] = [
            desk.compensatable("reserve").into(),
            desk.compensatable("redeem").into(),
            desk.pivot("pay").into(),
            desk.retriable("confirm").into(),
        ];
        Definition::new(name, more.into_iter().chain(usual)).unwrap()
    }

    /// A worker that knows [`World::place_order`], about to be started.
    pub(crate) fn builder(&self, access: &Arc<FaultyStore>) -> WorkerBuilder {
        self.builder_of(access, self.place_order())
    }

    pub(crate) fn builder_of(
        &self,
        access: &Arc<FaultyStore>,
        definition: Definition,
    ) -> WorkerBuilder {
        Worker::builder(access.clone()).clock(self.clock.clone()).register(definition)
    }

    /// A running worker with an access of its own.
    pub(crate) async fn worker(&self) -> Worker {
        self.builder(&self.access()).start().await.unwrap()
    }

    /// A client in a process without a worker.
    pub(crate) fn client(&self) -> Client {
        let client = Client::new(self.access(), vec![self.place_order()]).unwrap();
        client.with_clock(self.clock.clone())
    }

    pub(crate) fn effects(&self, saga: SagaId, step: &str) -> (u32, u32) {
        let Effects { done, undone } = self.desk.effects(saga, step);
        (done, undone)
    }

    /// Checks that every effect of a `place-order` is there exactly once.
    #[track_caller]
    pub(crate) fn assert_whole(&self, saga: SagaId) {
        for step in ["reserve", "redeem", "pay", "confirm"] {
            assert_eq!(self.effects(saga, step), (1, 0), "{step}");
        }
    }

    /// Checks that no effect of a `place-order` is left.
    #[track_caller]
    pub(crate) fn assert_clean(&self, saga: SagaId) {
        for step in ["reserve", "redeem", "pay", "confirm"] {
            let (done, undone) = self.effects(saga, step);
            assert!(done <= 1 && done == undone, "{step}: done {done}, undone {undone}");
        }
    }

    /// Waits until the state row of a saga has this status and nobody drives the saga.
    pub(crate) async fn settled(&self, saga: SagaId, status: Status) {
        let settled = async {
            loop {
                let row = self.memory.row(saga).await.unwrap().unwrap();
                if row.summary.status == status && row.owner.is_none() {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(3_600), settled).await.expect("within an hour");
    }

    /// The events of a saga in words.
    pub(crate) async fn words(&self, saga: SagaId) -> Vec<String> {
        let log = self.client().log(saga, 0, 10_000).await.unwrap();
        log.into_iter().flat_map(|entry| entry.words).collect()
    }

    /// All events of a saga.
    pub(crate) async fn events(&self, saga: SagaId) -> Vec<Event> {
        let log = self.client().log(saga, 0, 10_000).await.unwrap();
        log.into_iter().flat_map(|entry| entry.transition.events).collect()
    }

    pub(crate) async fn view(&self, saga: SagaId) -> SagaView {
        self.client().view(saga).await.unwrap().unwrap()
    }

    /// The wait reason of a saga in words.
    pub(crate) async fn wait_text(&self, saga: SagaId) -> String {
        self.view(saga).await.wait.expect("it is alive").text
    }

    /// What a frozen worker does not see: its lease runs out and its sagas are free.
    pub(crate) async fn expire_leases(&self) {
        for worker in self.memory.workers().await.unwrap() {
            self.memory.retire(worker.card.id).await.unwrap();
        }
    }
}

pub(crate) async fn order(client: &Client) -> Started {
    client.start("place-order", &serde_json::json!({"order": 17})).await.unwrap()
}

/// The verdict, which has to come within a virtual hour.
pub(crate) async fn verdict(started: &Started) -> Verdict {
    within_an_hour(started.verdict()).await.unwrap()
}

pub(crate) async fn within_an_hour<T>(wait: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3_600), wait).await.expect("within an hour")
}

pub(crate) fn command(request_id: &str, action: CommandAction) -> Command {
    Command {
        request_id: IdempotencyKey::new(request_id).unwrap(),
        actor: "olga".to_owned(),
        reason: "the customer called".to_owned(),
        action,
        expected_seq: None,
    }
}

/// Gives a command under a request id of its own.
pub(crate) async fn tell(
    client: &Client,
    saga: SagaId,
    action: CommandAction,
) -> Result<(), CommandError> {
    let request_id = format!("{action} {}", uuid::Uuid::new_v4());
    client.command(saga, command(&request_id, action)).await
}

pub(crate) const ACTION: Op = Op::Action;
pub(crate) const COMPENSATION: Op = Op::Compensation;
