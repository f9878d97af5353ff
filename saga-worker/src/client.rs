//! Starting, watching and commanding sagas, from a worker's process or any other.

mod command;
mod follow;
mod knowledge;
mod search;
mod start;

use std::sync::{Arc, Weak};

use saga_core::store::{Query, SagaRow, Store, StoreError};
use saga_core::{
    Clock, Definition, IdempotencyKey, LogError, LogRow, Saga, SagaId, SagaView, Share, Status,
    Transition, Wait, WaitReason,
};

pub use command::CommandError;
pub use follow::Settled;
pub use search::{Found, Search};
pub use start::{Start, StartError, Started};

use crate::clock::SystemClock;
use crate::entropy::Entropy;
use crate::registry::{Registry, RegistryError};
use crate::rollouts::{RolloutError, Rollouts};
use crate::runtime::Runtime;
use crate::watchers::Watchers;

/// A door to a store of sagas.
///
/// [`crate::Worker`] has one of its own, on which sagas it starts run at once.
/// A client without a worker leaves the sagas it starts to the workers that
/// poll the same store.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<Entropy>,
    registry: Registry,
    rollouts: Arc<Rollouts>,
    watchers: Arc<Watchers>,
    /// The worker of this process, if it has one.
    runtime: Weak<Runtime>,
    payload_bytes_max: usize,
}

impl Client {
    /// A client in a process that runs no sagas itself. The inputs of `definitions` are checked
    /// before a start; other definitions can be started too if a worker has put them on record.
    ///
    /// # Errors
    /// [`RegistryError::Duplicate`] when two have the same name and version.
    pub fn new(store: Arc<dyn Store>, definitions: Vec<Definition>) -> Result<Self, RegistryError> {
        Ok(Self {
            store,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Entropy::System),
            registry: Registry::new(definitions)?,
            rollouts: Arc::default(),
            watchers: Arc::default(),
            runtime: Weak::new(),
            payload_bytes_max: saga_core::PAYLOAD_BYTES_MAX,
        })
    }

    /// The same client, reading the time elsewhere. Default: the machine's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same client, starting this share of new sagas on a version that is being rolled out;
    /// earlier rollouts are replaced. See [`WorkerBuilder::rollout`](crate::WorkerBuilder::rollout)
    /// for what the shares mean.
    ///
    /// The versions there are, for this, are those given to [`Client::new`] or, where none of that
    /// name is, those that workers have put on record. So a process without the code takes part in
    /// a rollout too, but it has to be told: **a client without rollouts and without the
    /// definition starts on the newest version on record**, from the moment at which the first
    /// worker with it has come up. Give the rollout to such clients before that moment, with the
    /// version they are to stay on at 100 %.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use saga_core::{Definition, Failure, MemoryStore, Step};
    /// # use saga_worker::{SystemClock, Worker};
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// # let v1 = Definition::new("place-order", [Step::pivot("capture-payment", work)])?;
    /// # let v2 = Definition::builder("place-order").version(2).step(Step::pivot("capture-card", work)).build()?;
    /// # let _worker = Worker::builder(store.clone()).register(v1).register(v2).start().await?;
    /// use saga_core::Share;
    /// use saga_worker::Client;
    ///
    /// let client = Client::new(store, vec![])?;
    /// let client = client.with_rollouts([("place-order", 2, Share::percent(5))]).await?;
    /// let saga = client.start("place-order", &17).key("order-17").await?;
    /// # assert_eq!(client.view(saga.id).await?.unwrap().version, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RolloutError`] naming every fault at once.
    pub async fn with_rollouts<N: Into<String>>(
        mut self,
        shares: impl IntoIterator<Item = (N, u32, Share)>,
    ) -> Result<Self, RolloutError> {
        let wishes = shares.into_iter().map(|(name, version, share)| (name.into(), version, share));
        let wishes: Vec<_> = wishes.collect();
        self.rollouts =
            Arc::new(Rollouts::check(wishes, &self.registry, self.store.as_ref()).await?);
        Ok(self)
    }

    pub(crate) fn of(runtime: &Arc<Runtime>, rollouts: Rollouts) -> Self {
        Self {
            store: runtime.store.clone(),
            clock: runtime.clock.clone(),
            entropy: runtime.entropy.clone(),
            registry: runtime.registry.clone(),
            rollouts: Arc::new(rollouts),
            watchers: runtime.watchers.clone(),
            runtime: Arc::downgrade(runtime),
            payload_bytes_max: runtime.options.payload_bytes_max,
        }
    }

    /// The store behind this client.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Resolves when the worker of this process has made a step of any saga durable since this
    /// call, as a hint for those who follow all of them: steps of other processes give none.
    pub fn news(&self) -> impl Future<Output = ()> + Send + '_ {
        self.watchers.any()
    }

    /// A snapshot of a saga; `None` when there is no such saga. Where a newer release has gone on
    /// with it, the snapshot is of the part of its log that this release can read.
    ///
    /// # Errors
    /// [`ClientError`] when the store fails or the log cannot be replayed.
    pub async fn view(&self, id: SagaId) -> Result<Option<SagaView>, ClientError> {
        let Some((row, saga, newer)) = self.replay_known(id).await? else { return Ok(None) };
        let now = self.clock.now();
        let mut view = SagaView::of(&saga, now);
        if newer.is_some() {
            // What it was when this release could still follow it; where it stands is on record.
            (view.status, view.ended_at) = (row.summary.status, row.summary.ended_at);
            let seq = saga.head().seq + 1;
            let alive = view.status.is_alive();
            view.wait = alive.then(|| Wait::from(WaitReason::NewerRelease { seq }));
            return Ok(Some(view));
        }
        if let Some(by_its_log) = saga.wait(now) {
            view.wait = Some(Wait::from(self.wait_for_knowledge(&row, by_its_log).await?));
        }
        Ok(Some(view))
    }

    /// The saga as far as this release can read its log, and what it cannot read.
    async fn replay_known(
        &self,
        id: SagaId,
    ) -> Result<Option<(SagaRow, Saga, Option<LogError>)>, ClientError> {
        let Some((row, log)) = self.store.load(id).await? else { return Ok(None) };
        let definition = &row.definition;
        let spec = match self.registry.exact(definition) {
            Some(known) => known.spec().clone(),
            None => {
                let stored = self.store.definition(&definition.name, definition.version).await?;
                Arc::new(stored.ok_or_else(|| ClientError::Unreadable {
                    id,
                    why: format!("its definition {definition} is not on record"),
                })?)
            }
        };
        let (saga, newer) = Saga::replay_known(id, spec, &log)
            .map_err(|error| ClientError::Unreadable { id, why: error.to_string() })?;
        Ok(Some((row, saga, newer)))
    }

    /// The transitions of a saga after position `after`, oldest first, each with its events in
    /// words; at most `limit` of them.
    ///
    /// # Errors
    /// [`ClientError`] when the store fails or a row cannot be read.
    pub async fn log(
        &self,
        id: SagaId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<LogEntry>, ClientError> {
        let Some(row) = self.store.row(id).await? else { return Err(ClientError::NotFound { id }) };
        let definition = &row.definition;
        let spec = match self.registry.exact(definition) {
            Some(known) => Some(known.spec().as_ref().clone()),
            None => self.store.definition(&definition.name, definition.version).await?,
        };
        let rows = self.store.log(id, after, limit).await?;
        let entry = |row: &LogRow| {
            let transition = decode(id, row)?;
            let words = |event: &saga_core::Event| {
                spec.as_ref().map_or_else(|| format!("{event:?}"), |spec| event.describe(spec))
            };
            let events = transition.events.iter().map(words).collect();
            Ok(LogEntry { transition, words: events })
        };
        rows.iter().map(entry).collect()
    }

    /// State rows that match a query, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    pub async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        self.store.find(query).await
    }

    /// The saga that was started under this key, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    pub async fn find_by_key(
        &self,
        name: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<SagaRow>, StoreError> {
        let query = Query {
            name: Some(name.to_owned()),
            key: Some(key.clone()),
            limit: 1,
            ..Query::default()
        };
        Ok(self.store.find(&query).await?.pop())
    }

    /// How many sagas stand where, every status listed.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    pub async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        let found = self.store.counts().await?;
        let count =
            |status| found.iter().find(|(known, _)| *known == status).map_or(0, |(_, n)| *n);
        Ok(Status::ALL.into_iter().map(|status| (status, count(status))).collect())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("definitions", &self.registry.references())
            .finish_non_exhaustive()
    }
}

/// One transition of a log, with its events in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The transition as data.
    pub transition: Transition,
    /// Its events in words.
    pub words: Vec<String>,
}

fn decode(id: SagaId, row: &LogRow) -> Result<Transition, ClientError> {
    row.decode().map_err(|error| ClientError::Unreadable { id, why: error.to_string() })
}

/// A question about a saga could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no such saga.
    #[error("there is no saga {id}")]
    NotFound {
        /// The id asked for.
        id: SagaId,
    },
    /// Its log cannot be read.
    #[error("saga {id} cannot be read: {why}")]
    Unreadable {
        /// The saga.
        id: SagaId,
        /// The first fault.
        why: String,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}
