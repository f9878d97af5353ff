//! Putting a worker together: what it knows and the figures it runs by.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{PublishError, Store, StoreError};
use saga_core::{Clock, Definition, Share};

use super::{Worker, enlist, supervise};
use crate::client::Client;
use crate::clock::SystemClock;
use crate::entropy::Entropy;
use crate::registry::{Registry, RegistryError};
use crate::rollouts::{RolloutError, Rollouts, Wish};
use crate::runtime::{Options, Runtime};
use crate::telemetry::TraceRatio;

/// Collects a worker's definitions and figures; [`WorkerBuilder::start`] sets it to work.
#[must_use = "a worker does nothing until it is started"]
pub struct WorkerBuilder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
    definitions: Vec<Definition>,
    rollouts: Vec<Wish>,
    options: Options,
}

impl WorkerBuilder {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (clock, options) = (Arc::new(SystemClock), Options::default());
        let (definitions, rollouts) = (Vec::new(), Vec::new());
        Self { store, clock, entropy: Entropy::System, definitions, rollouts, options }
    }

    /// Adds a definition. Several versions of one name may be registered: running sagas stay on
    /// theirs, new ones start on the newest, unless the caller names another
    /// ([`Start::version`](crate::Start::version)) or there is a [rollout](Self::rollout).
    pub fn register(mut self, definition: Definition) -> Self {
        self.definitions.push(definition);
        self
    }

    /// Starts only a share of new sagas on a version; the rest goes to the newest version below
    /// all that have a share.
    ///
    /// Which start gets which version follows from a hash of its key (of its id where it has
    /// none), so a key gets the same version everywhere and every time. Raising a share only ever
    /// moves keys up to that version, and none back. Several versions may have shares.
    ///
    /// A rollout holds for the starts made through this worker, by its process. Other processes
    /// have rollouts of their own; while they differ, the first start under a key decides, and all
    /// later ones find its saga. For clients without a worker see
    /// [`Client::with_rollouts`](crate::Client::with_rollouts), which can also give the client of
    /// a running worker another share.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use saga_core::{Definition, Failure, MemoryStore, Step};
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(saga_worker::SystemClock)));
    /// # let v2 = Definition::builder("place-order").version(2).step(Step::pivot("capture-payment", work)).build()?;
    /// # let v3 = Definition::builder("place-order").version(3).step(Step::pivot("capture-card", work)).build()?;
    /// use saga_core::Share;
    /// use saga_worker::Worker;
    ///
    /// let worker = Worker::builder(store)
    ///     .register(v2) // as long as sagas run on it
    ///     .register(v3)
    ///     .rollout("place-order", 3, Share::percent(10))
    ///     .start()
    ///     .await?;
    /// for (order, version) in [("order-17", 2), ("order-22", 3)] {
    ///     let saga = worker.start("place-order", &order).key(order).await?;
    ///     assert_eq!(worker.view(saga.id).await?.unwrap().version, version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn rollout(mut self, name: impl Into<String>, version: u32, share: Share) -> Self {
        self.rollouts.push((name.into(), version, share));
        self
    }

    /// A name for people. Default: `process-` and the process id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Most sagas driven at once. Default 512, at least 1. An eighth of them, from 8 on, is kept for
    /// sagas that are started on this worker: those it claims leave that free, so that a start runs
    /// at once however much is due.
    pub fn concurrency_max(mut self, sagas: usize) -> Self {
        self.options.concurrency_max = sagas;
        self
    }

    /// How long after the last heartbeat others may take this worker's sagas over. Default 10 s,
    /// at least 100 ms. The worker itself gives up a fifth earlier, and a call to the store that
    /// takes longer than half of it counts as failed.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.options.lease_ttl = ttl;
        self
    }

    /// How often to look for due sagas when no hint comes. Default 1 s, at least 10 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval;
        self
    }

    /// How long [`Worker::shutdown`] waits for calls in flight before giving them up. Default 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.options.drain_timeout = timeout;
        self
    }

    /// How long a call may run on after its token has fired, to come to a clean end, before its
    /// future is dropped. Default 100 ms.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.options.cancel_grace = grace;
        self
    }

    /// Workers lost in a row while driving one saga at which it is stuck as poison. Default 10, at
    /// least 1. Nobody can tell a worker that died from one that lost its lease because its machine
    /// or the database was too busy, so a low figure makes an overloaded fleet suspect its sagas.
    pub fn losses_max(mut self, losses: u32) -> Self {
        self.options.losses_max = losses;
        self
    }

    /// Largest input or output, in bytes of JSON. Default 256 KiB.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.options.payload_bytes_max = bytes;
        self
    }

    /// How long a saga is kept after its verdict. Then it is deleted with its log and its commands,
    /// whatever its definition and whoever ran it; a live or stuck saga never is. Default: for
    /// ever. At least 1 s.
    ///
    /// A deleted saga is unknown and its idempotency key is free again: a start repeated under
    /// that key runs a new saga. So keep sagas for longer than callers may go on repeating a start
    /// or asking for a verdict. The age is counted by the store's clock.
    ///
    /// Every worker that was given an age takes part, in small batches and with pauses that keep
    /// all workers together to a fifth of the time of one connection. With different ages on one
    /// store the shortest counts.
    pub fn retention(mut self, age: Duration) -> Self {
        self.options.retention = Some(age);
        self
    }

    /// How large a part of the sagas that bring no trace context is recorded as traces, for an
    /// OpenTelemetry SDK that samples by its parent. Default: all. All workers of a store should
    /// have the same, or there are traces with holes.
    pub fn trace_ratio(mut self, ratio: TraceRatio) -> Self {
        self.options.trace_ratio = ratio;
        self
    }

    /// Where the worker reads the time. Default: the machine's clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the ids that this worker gives follow from a seed: for repeatable simulations only,
    /// since two workers with one seed would give the same ids. Default: the system's randomness.
    pub fn seed(mut self, seed: u64) -> Self {
        self.entropy = Entropy::seeded(seed);
        self
    }

    /// Records the definitions, enlists, and starts to work. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] naming what is wrong; nothing runs then.
    pub async fn start(self) -> Result<Worker, BuildError> {
        self.check()?;
        let registry = Registry::new(self.definitions)?;
        let rollouts = Rollouts::check(self.rollouts, &registry, self.store.as_ref()).await?;
        for definition in registry.all() {
            self.store.publish(definition.spec()).await?;
        }
        let (clock, entropy) = (self.clock, Arc::new(self.entropy));
        let runtime = Runtime::new(self.store, clock, entropy, registry, self.options);
        let runtime = Arc::new(runtime);
        runtime.telemetry.observe(&Arc::downgrade(&runtime));
        let tenure = enlist(&runtime).await?;
        let supervisor = tokio::spawn(supervise(runtime.clone(), tenure));
        Ok(Worker { client: Client::of(&runtime, rollouts), runtime, supervisor: Some(supervisor) })
    }

    fn check(&self) -> Result<(), BuildError> {
        let options = &self.options;
        if self.definitions.is_empty() {
            return Err(BuildError::NoDefinitions);
        }
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let figures = [
            ("concurrency_max", options.concurrency_max as u64, 1),
            ("lease_ttl in ms", ms(options.lease_ttl), 100),
            ("poll_interval in ms", ms(options.poll_interval), 10),
            ("losses_max", u64::from(options.losses_max), 1),
            ("payload_bytes_max", options.payload_bytes_max as u64, 2),
            ("retention in ms", options.retention.map_or(u64::MAX, ms), 1_000),
        ];
        match figures.into_iter().find(|(_, value, least)| value < least) {
            Some((field, value, least)) => Err(BuildError::Figure { field, value, least }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a worker did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// It would have nothing to do.
    #[error("no definition is registered: call register(..) before start()")]
    NoDefinitions,
    /// A figure is too small to work with.
    #[error("{field} is {value}: expected at least {least}")]
    Figure {
        /// Which figure.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least that works.
        least: u64,
    },
    /// The definitions do not fit together.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The shares of a rollout make no sense.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// A definition contradicts the one on record.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}
