//! Three workers on one store, and what befalls them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::store::Leases;
use saga_core::{BreakerPolicy, Definition, MemoryStore, RetryPolicy, Stage, Step, parallel};
use saga_worker::{Client, Worker};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::participants::{Participants, Remote};
use super::swarm::{Dice, Swarm};
use crate::support::{Fault, FaultyStore, VirtualClock};

/// Short, so that leases run out often.
const LEASE: Duration = Duration::from_secs(3);
/// How often disaster may strike.
const TICK: Duration = Duration::from_millis(100);

/// The place of one worker, which may be empty for a while.
struct Slot {
    access: Arc<FaultyStore>,
    worker: Option<Worker>,
    empty_until: Instant,
    frozen_until: Option<Instant>,
}

pub(super) struct Fleet {
    pub(super) clock: Arc<VirtualClock>,
    pub(super) memory: Arc<MemoryStore>,
    /// The newest client of each slot; its worker may be gone.
    pub(super) clients: Arc<Mutex<Vec<Client>>>,
    participants: Arc<Participants>,
    swarm: Swarm,
    dice: Dice,
    slots: Vec<Slot>,
    outage: Arc<AtomicBool>,
    outage_until: Option<Instant>,
    pub(super) aborts: u64,
    pub(super) shutdowns: u64,
    pub(super) zombies: u64,
    pub(super) freezes: u64,
}

impl Fleet {
    pub(super) async fn start(
        participants: Arc<Participants>,
        swarm: Swarm,
        dice: Dice,
        fenced: bool,
    ) -> Self {
        let clock = Arc::new(VirtualClock::new());
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let outage = Arc::new(AtomicBool::new(false));
        let slot = |_| {
            let access = FaultyStore::new(memory.clone());
            let access = Arc::new(if fenced { access } else { access.without_fence() });
            Slot { access, worker: None, empty_until: Instant::now(), frozen_until: None }
        };
        let slots = (0..3).map(slot).collect();
        let mut fleet = Self {
            clock,
            memory,
            clients: Arc::default(),
            participants,
            swarm,
            dice,
            slots,
            outage,
            outage_until: None,
            aborts: 0,
            shutdowns: 0,
            zombies: 0,
            freezes: 0,
        };
        for number in 0..3 {
            assert!(fleet.fill(number).await, "nothing goes wrong yet");
        }
        fleet.slots.iter().for_each(|slot| fleet.plan(slot));
        fleet
    }

    /// From now on calls to the store go wrong at the rates of the swarm.
    fn plan(&self, slot: &Slot) {
        let (swarm, dice) = (self.swarm.clone(), self.dice.fork());
        let outage = self.outage.clone();
        slot.access.plan(move |_| {
            let roll = dice.below(1_000);
            let [before, after, late] = [swarm.store_before, swarm.store_after, swarm.store_late];
            if outage.load(Ordering::Relaxed) || roll < before {
                Some(Fault::Before)
            } else if roll < before + after {
                Some(Fault::After)
            } else if roll < before + after + late {
                Some(Fault::Late(dice.time(3_000)))
            } else if roll < before + after + late + swarm.store_slow {
                Some(Fault::Slow(dice.time(4_000)))
            } else {
                None
            }
        });
    }

    /// Puts a worker into a slot; `false` when the store would not have it.
    async fn fill(&mut self, number: usize) -> bool {
        let access = self.slots[number].access.clone();
        let mut builder = Worker::builder(access)
            .clock(self.clock.clone())
            .seed(self.dice.roll())
            .lease_ttl(LEASE)
            .poll_interval(Duration::from_millis(500))
            .drain_timeout(Duration::from_secs(2))
            .concurrency_max(8);
        for definition in self.definitions() {
            builder = builder.register(definition);
        }
        let Ok(worker) = builder.start().await else { return false };
        let client = worker.client().clone();
        let mut clients = self.clients.lock().unwrap();
        match clients.get_mut(number) {
            Some(place) => *place = client,
            None => clients.push(client),
        }
        drop(clients);
        self.slots[number].worker = Some(worker);
        true
    }

    fn definitions(&self) -> [Definition; 2] {
        let remote = || Remote(self.participants.clone());
        let persistent =
            || RetryPolicy::new(60, Duration::from_millis(500)).capped(Duration::from_secs(3));
        let shape = |step: Step, retry: RetryPolicy| {
            let breaker = match self.swarm.touchy_breaker {
                0 => BreakerPolicy::default(),
                _ => BreakerPolicy {
                    failures_to_open: 3,
                    calls_min: 3,
                    open_ms: 3_000,
                    ..BreakerPolicy::default()
                },
            };
            let second = Duration::from_secs(1);
            step.retry(retry)
                .compensation_retry(persistent())
                .timeout(second)
                .compensation_timeout(second)
                .breaker(breaker)
        };
        let compensatable = |name: &str| {
            let retry =
                RetryPolicy::new(2, Duration::from_millis(300)).capped(Duration::from_secs(2));
            shape(Step::compensatable_calls::<Value>(name, remote(), remote()), retry)
        };
        let pivot = |name: &str| shape(Step::pivot_call::<Value>(name, remote()), persistent());
        let retriable =
            |name: &str| shape(Step::retriable_call::<Value>(name, remote()), persistent());
        let line: [Stage; 4] = [
            compensatable("reserve").into(),
            compensatable("redeem").into(),
            pivot("pay").into(),
            retriable("confirm").into(),
        ];
        let group: [Stage; 4] = [
            parallel([compensatable("reserve"), compensatable("redeem")]),
            compensatable("wrap").into(),
            pivot("pay").into(),
            parallel([retriable("confirm-mail"), retriable("confirm-post")]),
        ];
        [("line", line), ("group", group)].map(|(name, stages)| {
            let builder = Definition::builder(name).stages(stages);
            let builder = match self.swarm.deadline {
                0 => builder,
                _ => builder.deadline(Duration::from_secs(15)),
            };
            builder.build().expect("the definition is sound")
        })
    }

    /// Lets disasters happen for a while.
    pub(super) async fn suffer(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(TICK).await;
            let number = self.dice.below(3) as usize;
            let hits = |rate: u64| self.dice.hits(rate * 10);
            let (abort, shutdown) = (hits(self.swarm.aborts), hits(self.swarm.shutdowns));
            let (freeze, zombie) = (hits(self.swarm.freezes), hits(self.swarm.zombies));
            let outage = hits(self.swarm.outages);
            if abort || shutdown {
                self.empty(number, abort);
            }
            if freeze {
                self.freezes += 1;
                self.slots[number].access.freeze();
                let time = self.dice.time(2 * LEASE.as_millis() as u64);
                self.slots[number].frozen_until = Some(Instant::now() + time);
            }
            if zombie {
                self.expire_a_lease().await;
            }
            if outage {
                self.outage.store(true, Ordering::Relaxed);
                self.outage_until = Some(Instant::now() + self.dice.time(8_000));
            }
            self.recover().await;
        }
    }

    /// Ends what has lasted long enough.
    async fn recover(&mut self) {
        let now = Instant::now();
        if self.outage_until.is_some_and(|until| until <= now) {
            self.outage_until = None;
            self.outage.store(false, Ordering::Relaxed);
        }
        for number in 0..3 {
            let slot = &mut self.slots[number];
            if slot.frozen_until.is_some_and(|until| until <= now) {
                slot.frozen_until = None;
                slot.access.thaw();
            }
            let reachable = slot.frozen_until.is_none() && self.outage_until.is_none();
            if slot.worker.is_none() && slot.empty_until <= now && reachable {
                self.fill(number).await;
            }
        }
    }

    fn empty(&mut self, number: usize, abort: bool) {
        let pause = self.dice.time(3_000);
        let slot = &mut self.slots[number];
        let Some(worker) = slot.worker.take() else { return };
        slot.empty_until = Instant::now() + pause;
        if abort {
            self.aborts += 1;
            drop(worker);
        } else {
            self.shutdowns += 1;
            tokio::spawn(worker.shutdown());
        }
    }

    /// What a worker frozen past its lease does not see.
    async fn expire_a_lease(&mut self) {
        let workers = self.memory.workers().await.expect("memory never fails");
        if !workers.is_empty() {
            self.zombies += 1;
            let unlucky = &workers[self.dice.below(workers.len() as u64) as usize];
            self.memory.retire(unlucky.card.id).await.expect("memory never fails");
        }
    }

    /// Nothing goes wrong any more.
    pub(super) async fn heal(&mut self) {
        self.participants.heal();
        for number in 0..3 {
            self.slots[number].access.heal();
            self.slots[number].access.thaw();
            if self.slots[number].worker.is_none() {
                assert!(self.fill(number).await, "nothing goes wrong any more");
            }
        }
    }

    /// How often the store went wrong at `op`, over all workers.
    pub(super) fn faults(&self, op: &str) -> u64 {
        self.slots.iter().map(|slot| slot.access.faults().get(op).copied().unwrap_or(0)).sum()
    }
}
