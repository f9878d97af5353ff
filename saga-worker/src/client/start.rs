//! Starting a saga: once per key, at once where a worker is at hand.

use std::future::IntoFuture;
use std::sync::Arc;

use saga_core::store::{NewSaga, StartOutcome, StoreError};
use saga_core::{
    BoxFuture, Bucket, Definition, DefinitionSpec, IdError, IdempotencyKey, Payload, PayloadError,
    Saga, SagaId, StartRequest,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Client;
use super::search::ID_TIME_SLACK;
use crate::executor::{Executor, Identity, new_saga, run_from_start, store_new};
use crate::lease::Tenure;
use crate::registry::RegistryError;
use crate::runtime::Runtime;
use crate::watchers::Watch;

impl Client {
    /// Starts a saga on the newest version of a definition that is registered here or, where none
    /// is, on record; see [`Start::version`] and [`Client::with_rollouts`] for others.
    ///
    /// Await it, after adding what is wanted: `client.start("place-order", &order).key("order-17").await?`.
    pub fn start<T: Serialize + ?Sized>(&self, name: &str, input: &T) -> Start {
        Start {
            client: self.clone(),
            name: name.to_owned(),
            version: None,
            input: Payload::encode(input),
            key: None,
            id: None,
            traceparent: None,
            by: None,
        }
    }
}

/// A start under way; awaiting it stores the saga.
#[derive(Debug)]
#[must_use = "a start does nothing until it is awaited"]
pub struct Start {
    client: Client,
    name: String,
    version: Option<u32>,
    input: Result<Payload, PayloadError>,
    key: Option<String>,
    id: Option<SagaId>,
    traceparent: Option<String>,
    by: Option<String>,
}

/// A saga that has been started.
#[derive(Clone, Debug)]
pub struct Started {
    pub(super) client: Client,
    /// Its identity.
    pub id: SagaId,
    /// Whether this call created it; `false` when the key, or the id, was used before with the same
    /// input.
    pub created: bool,
    /// Set when the saga runs in this process.
    pub(super) watch: Option<Watch>,
}

/// Why a saga was not started. Nothing was stored, except perhaps after [`StartError::Store`]:
/// then the outcome is unknown, and repeating the start is safe only under the same key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Nobody registered the definition, or not this version of it.
    #[error(transparent)]
    Definition(#[from] RegistryError),
    /// The input is not what the steps read, or too big.
    #[error("input of {name}: {source}")]
    Input {
        /// The definition's name.
        name: String,
        /// What is wrong with it.
        source: PayloadError,
    },
    /// The idempotency key is malformed.
    #[error(transparent)]
    Key(#[from] IdError),
    /// The trace context is malformed.
    #[error("traceparent {0:?} is malformed: expected 00-<32 hexadecimal digits>-<16>-<2>")]
    Traceparent(String),
    /// The key was used before with another input.
    #[error(
        "idempotency key \"{key}\" was used before with another input, for saga {id}: use a new key for a new {name}"
    )]
    Conflict {
        /// The definition's name.
        name: String,
        /// The key.
        key: IdempotencyKey,
        /// The saga that was started under it.
        id: SagaId,
    },
    /// The id asked for cannot be one of a saga here.
    #[error("saga id {id} cannot be chosen: expected {expected}")]
    Id {
        /// The id.
        id: SagaId,
        /// What an id has to be.
        expected: String,
    },
    /// The id asked for belongs to another start, or the key to a saga of another id.
    #[error("saga id {id} is taken: {why}")]
    IdTaken {
        /// The id.
        id: SagaId,
        /// What stands in the way.
        why: String,
    },
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Start {
    /// The key under which the start is idempotent: 1 to 255 bytes.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The version to start on, registered here or on record, instead of the one that the newest
    /// version or a rollout would give.
    ///
    /// A start that is repeated under its key finds its saga whatever version it names: the saga
    /// stays on the version it was started with, and only another input is a conflict.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use saga_core::{Definition, Failure, MemoryStore, Step};
    /// # use saga_worker::{SystemClock, Worker};
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// let v1 = Definition::new("place-order", [Step::pivot("capture-payment", work)])?;
    /// let v2 = Definition::builder("place-order").version(2).step(Step::pivot("capture-card", work)).build()?;
    /// let worker = Worker::builder(store).register(v1).register(v2).start().await?;
    ///
    /// let newest = worker.start("place-order", &17).await?;
    /// let older = worker.start("place-order", &17).version(1).await?;
    /// assert_eq!(worker.view(newest.id).await?.unwrap().version, 2);
    /// assert_eq!(worker.view(older.id).await?.unwrap().version, 1);
    /// let unknown = worker.start("place-order", &17).version(3).await.unwrap_err().to_string();
    /// assert!(unknown.starts_with("definition place-order has no version 3: there are v1, v2;"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    /// The id of the saga, chosen by the caller instead of made here: a UUID of version 7, made within
    /// an hour, whose last three hexadecimal digits are the bucket, which is below
    /// [`SagaLog::buckets`] of the store and, where there is a key too, that of the key. An id that
    /// ends in `000` fits every store.
    ///
    /// It makes the start idempotent as a key does: the same id with the same input is the same saga.
    ///
    /// [`SagaLog::buckets`]: saga_core::store::SagaLog::buckets
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use std::time::SystemTime;
    /// # use saga_core::{Bucket, Definition, Failure, MemoryStore, SagaId, Step};
    /// # use saga_worker::{SystemClock, Worker};
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// # let pay = Definition::new("pay", [Step::pivot("capture-payment", work)])?;
    /// # let worker = Worker::builder(store).register(pay).start().await?;
    /// let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    /// let random_bits = 0x2b7e_1516_28ae_d2a6;
    /// let id = SagaId::new(now.as_millis() as u64, random_bits, Bucket::of("", 1)); // ends in 000
    ///
    /// let first = worker.start("pay", &17).id(id).await?;
    /// assert_eq!((first.id, first.created), (id, true));
    /// assert!(!worker.start("pay", &17).id(id).await?.created);
    /// assert!(worker.start("pay", &18).id(id).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn id(mut self, id: SagaId) -> Self {
        self.id = Some(id);
        self
    }

    /// The W3C trace context to continue.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// Who starts it, such as the key that a caller has shown: kept in the first event of the log. It is
    /// no part of what a repeated start is compared by.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.by = Some(who.into());
        self
    }

    /// Checks everything and builds the saga without storing it: for `start_in` of a store, which
    /// puts it into the caller's own database transaction. The workers find it there after the
    /// commit; nothing happens if there is none.
    ///
    /// # Errors
    /// As awaiting the start, except for what only the store can say.
    pub async fn prepare(self) -> Result<NewSaga, StartError> {
        let checked = self.check().await?;
        let now = checked.client.clock.now();
        let id = checked.id.saga();
        let (mut saga, events) = Saga::start(id, checked.kind.spec(), now, checked.request);
        Ok(new_saga(&mut saga, now, &events, None))
    }

    async fn check(self) -> Result<Checked, StartError> {
        let Self { client, name, version, input, key, id: chosen, traceparent, by } = self;
        let wrong = |source| StartError::Input { name: name.clone(), source };
        let input =
            input.and_then(|input| input.within(client.payload_bytes_max)).map_err(wrong)?;
        let key = key.map(IdempotencyKey::new).transpose()?;
        if let Some(malformed) = traceparent.as_ref().filter(|text| !is_traceparent(text)) {
            return Err(StartError::Traceparent(malformed.chars().take(64).collect()));
        }
        let id = match chosen {
            Some(id) => client.fits(id, key.as_ref()).await?,
            None => client.new_id(key.as_ref()),
        };
        let version = version.or_else(|| client.version_of(&name, key.as_ref(), id));
        let fitting = client.kind(&name, version).await.and_then(|kind| {
            kind.check_input(&input).map_err(wrong)?;
            Ok(kind)
        });
        let kind = match (fitting, &key) {
            (Err(error @ (StartError::Definition(_) | StartError::Input { .. })), Some(key)) => {
                client.kind_of_existing(&name, key).await?.ok_or(error)?
            }
            (fitting, _) => fitting?,
        };
        let id = match chosen {
            Some(_) => Identity::Chosen(id),
            None => Identity::Made(id),
        };
        Ok(Checked {
            client,
            name,
            kind,
            id,
            request: StartRequest { input, key, traceparent, by },
        })
    }

    async fn run(self) -> Result<Started, StartError> {
        let Checked { client, name, kind, id: identity, request } = self.check().await?;
        let (key, id) = (request.key.clone(), identity.saga());
        // Subscribed to before it exists, so that no news of it can be missed.
        let watch = client.runtime.upgrade().map(|_| client.watchers.watch(id));
        let outcome = client.store_start(identity, kind, request).await?;
        if let (Identity::Chosen(chosen), StartOutcome::Existing { .. }) = (identity, outcome) {
            client.is_repeated(chosen, &name, key.as_ref(), outcome).await?;
        }
        match (outcome, key) {
            (StartOutcome::Existing { id, same_input: false }, Some(key)) => {
                Err(StartError::Conflict { name, key, id })
            }
            (StartOutcome::Existing { id, .. }, _) => {
                Ok(Started { client, id, created: false, watch: None })
            }
            (StartOutcome::Created, _) => Ok(Started { client, id, created: true, watch }),
        }
    }
}

/// A start in which nothing is wrong.
struct Checked {
    client: Client,
    name: String,
    kind: Kind,
    id: Identity,
    request: StartRequest,
}

impl IntoFuture for Start {
    type Output = Result<Started, StartError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Client {
    /// The version that a rollout gives this start, if there is one.
    fn version_of(&self, name: &str, key: Option<&IdempotencyKey>, id: SagaId) -> Option<u32> {
        match key {
            Some(key) => self.rollouts.version_of(name, key.as_str()),
            None => self.rollouts.version_of(name, &id.to_string()),
        }
    }

    /// The version asked for, or else the newest: registered here, else put on record by a worker.
    async fn kind(&self, name: &str, version: Option<u32>) -> Result<Kind, StartError> {
        let registered = match version {
            Some(version) => self.registry.version(name, version),
            None => self.registry.newest(name),
        };
        if let Some(definition) = registered {
            return Ok(Kind::Known(definition));
        }
        let on_record = match version {
            Some(version) => self.store.definition(name, version).await?,
            None => self.store.newest(name).await?,
        };
        match on_record {
            Some(spec) => Ok(Kind::OnRecord(Arc::new(spec))),
            None => Err(self.unknown(name, version).await?.into()),
        }
    }

    async fn unknown(&self, name: &str, version: Option<u32>) -> Result<RegistryError, StoreError> {
        let mut known = self.registry.versions(name);
        known.extend(self.store.versions(name).await?);
        known.sort_unstable();
        known.dedup();
        Ok(match version.filter(|_| !known.is_empty()) {
            Some(version) => {
                RegistryError::UnknownVersion { name: name.to_owned(), version, known }
            }
            None => self.registry.unknown(name),
        })
    }

    /// What the saga under this key is a run of, if there is one. Its version may be another than
    /// the one a start would get today, and read another input: a repeated start has to find it
    /// all the same, and the store says whether the input is the one it was started with.
    async fn kind_of_existing(
        &self,
        name: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<Kind>, StoreError> {
        let Some(row) = self.find_by_key(name, key).await? else { return Ok(None) };
        let on_record = self.store.definition(name, row.definition.version).await?;
        Ok(on_record.map(|spec| Kind::OnRecord(Arc::new(spec))))
    }

    fn new_id(&self, key: Option<&IdempotencyKey>) -> SagaId {
        let entropy = self.entropy.bits();
        let text = key.map_or_else(|| entropy.to_string(), |key| key.as_str().to_owned());
        let bucket = Bucket::of(&text, self.store.buckets());
        let unix_ms = self.clock.now().as_micros().max(0).unsigned_abs() / 1_000;
        SagaId::new(unix_ms, entropy, bucket)
    }

    /// A chosen id, if it can be one.
    async fn fits(&self, id: SagaId, key: Option<&IdempotencyKey>) -> Result<SagaId, StartError> {
        let buckets = self.store.buckets();
        let now_ms = self.clock.now().as_micros().max(0).unsigned_abs() / 1_000;
        let is_off = u128::from(id.unix_ms().abs_diff(now_ms)) > ID_TIME_SLACK.as_millis();
        let expected = match key.map(|key| Bucket::of(key.as_str(), buckets)) {
            _ if !id.is_version_7() => "a UUID of version 7".to_owned(),
            Some(bucket) if bucket != id.bucket() => {
                format!(
                    "its last three digits to be {:03x}, the bucket of the key",
                    bucket.number()
                )
            }
            None if id.bucket().number() >= i32::from(buckets) => format!(
                "its last three digits to be a bucket of this store, 000 to {:03x}",
                buckets.saturating_sub(1)
            ),
            // One that is repeated was in time once.
            _ if is_off && self.store.row(id).await?.is_none() => {
                "one that was made within an hour, for lists are in the order of ids".to_owned()
            }
            _ => return Ok(id),
        };
        Err(StartError::Id { id, expected })
    }

    /// Whether what stands in the way of a start under a chosen id is this very start, made earlier.
    async fn is_repeated(
        &self,
        chosen: SagaId,
        name: &str,
        key: Option<&IdempotencyKey>,
        outcome: StartOutcome,
    ) -> Result<(), StartError> {
        let taken = |why| Err(StartError::IdTaken { id: chosen, why });
        let StartOutcome::Existing { id, same_input } = outcome else { return Ok(()) };
        if id != chosen {
            return taken(format!("the idempotency key was used before, for saga {id}"));
        }
        let Some(row) = self.store.row(id).await? else { return Ok(()) };
        if row.definition.name != name {
            return taken(format!("it is a saga of {}", row.definition.name));
        }
        if key.is_some() && row.key.as_ref() != key {
            return taken("it was started under another idempotency key".to_owned());
        }
        match same_input {
            true => Ok(()),
            false => taken("it was started with another input".to_owned()),
        }
    }

    /// Stores the first row. A worker at hand with room for it runs the saga from there, without
    /// a poll in between.
    async fn store_start(
        &self,
        identity: Identity,
        kind: Kind,
        request: StartRequest,
    ) -> Result<StartOutcome, StoreError> {
        let (now, id) = (self.clock.now(), identity.saga());
        let (mut saga, events) = Saga::start(id, kind.spec(), now, request);
        let (Kind::Known(definition), Some(place)) = (kind, self.at_hand()) else {
            let new = new_saga(&mut saga, now, &events, None);
            return store_new(self.store.as_ref(), new, identity).await;
        };
        let Place { runtime, tenure, permit, under_way } = place;
        let driven = runtime.drive(id);
        let executor = Executor::new(driven, tenure, definition, saga, 0);
        let (told, outcome) = oneshot::channel();
        // In a task of its own: a caller who stops waiting must not leave a stored saga undriven.
        runtime.executors.spawn(run_from_start(executor, identity, (now, events), permit, told));
        drop(under_way);
        outcome.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("the start was interrupted: its task died".to_owned()))
        })
    }

    /// The worker of this process, if it holds its lease and has room for another saga.
    fn at_hand(&self) -> Option<Place> {
        let runtime = self.runtime.upgrade()?;
        // Before asking whether it drains: a drain that begins now waits for this start.
        let under_way = runtime.executors.token();
        let tenure = runtime.tenure()?;
        let permit = runtime.permit_to_start()?;
        Some(Place { runtime, tenure, permit, under_way })
    }
}

/// Room for one saga on the worker of this process.
struct Place {
    runtime: Arc<Runtime>,
    tenure: Arc<Tenure>,
    permit: OwnedSemaphorePermit,
    under_way: TaskTrackerToken,
}

/// What a saga is started as: with its code in this process, or known from the store alone.
enum Kind {
    Known(Definition),
    OnRecord(Arc<DefinitionSpec>),
}

impl Kind {
    fn spec(&self) -> Arc<DefinitionSpec> {
        match self {
            Self::Known(definition) => definition.spec().clone(),
            Self::OnRecord(spec) => spec.clone(),
        }
    }

    /// Only the code knows the input's type; without it the first step finds out.
    fn check_input(&self, input: &Payload) -> Result<(), PayloadError> {
        match self {
            Self::Known(definition) => definition.check_input(input),
            Self::OnRecord(_) => Ok(()),
        }
    }
}

/// Whether a text looks like a W3C trace context of version 00.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let hexadecimal = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
    lengths == [2, 32, 16, 2] && hexadecimal && parts[0] == "00"
}
