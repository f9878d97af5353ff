//! The daemon to embed: a worker and its HTTP API in one.

mod handle;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkError;
use saga_core::store::{FeedEdge, FeedError};
use saga_core::{Definition, Store};
use saga_worker::{BuildError, Client, DrainReport, RegistryError, Worker, WorkerBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::ApiKeys;
use crate::audit::{self, Refusals};
use crate::bulk::carry_out_all;
use crate::feed::{Feed, Tickets};
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::service::{App, Limits, Shared};
use crate::tls::Tls;
use crate::webhooks::{Webhooks, deliver_all};
use crate::{routes, server};

pub use handle::{ChangeError, DaemonHandle};

type Tune = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

/// Collects what a daemon is made of; [`DaemonBuilder::serve`] sets it to work.
#[must_use = "a daemon does nothing until it serves"]
pub struct DaemonBuilder {
    store: Arc<dyn Store>,
    definitions: Vec<Definition>,
    tune: Option<Tune>,
    keys: ApiKeys,
    hosts: Vec<String>,
    origins: Vec<String>,
    exposure: Exposure,
    limits: Limits,
    metrics: Option<Metrics>,
    tls: Option<Tls>,
    webhooks: Webhooks,
    audit_retention: Option<Duration>,
}

/// Whether a daemon without keys may be reached from other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    Loopback,
    Anywhere,
}

/// A worker with an HTTP API.
///
/// ```
/// use std::sync::Arc;
/// use saga_core::{Definition, Failure, MemoryStore, Step};
/// use saga_daemon::Daemon;
/// use saga_worker::SystemClock;
/// use tokio_util::sync::CancellationToken;
///
/// async fn capture() -> Result<(), Failure> { Ok(()) }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let shutdown = CancellationToken::new();
/// # shutdown.cancel();
/// let drained = Daemon::builder(store)
///     .register(Definition::new("pay", [Step::pivot("capture", capture)])?)
///     .serve(listener, shutdown)
///     .await?;
/// assert!(!drained.gave_up);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Daemon {
    listener: TcpListener,
    app: App,
    tls: Option<Tls>,
}

impl Daemon {
    /// Starts building a daemon on a store.
    pub fn builder(store: Arc<dyn Store>) -> DaemonBuilder {
        DaemonBuilder {
            store,
            definitions: Vec::new(),
            tune: None,
            keys: ApiKeys::default(),
            hosts: Vec::new(),
            origins: Vec::new(),
            exposure: Exposure::Loopback,
            limits: Limits::default(),
            metrics: None,
            tls: None,
            webhooks: Webhooks::default(),
            audit_retention: Some(audit::RETENTION),
        }
    }

    /// The client of its worker, to start sagas from the same process.
    pub fn client(&self) -> &Client {
        self.app.client()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.app.address()
    }

    /// A way to change it while it serves.
    pub fn handle(&self) -> DaemonHandle {
        DaemonHandle::new(self.app.clone())
    }

    /// Serves until `shutdown` fires, then drains: `/readyz` falls, the worker lets calls in flight
    /// come to an end and hands its sagas back, and last the API closes, its streams included.
    pub async fn run(self, shutdown: CancellationToken) -> DrainReport {
        let Self { listener, app, tls } = self;
        let router = routes::router(app.clone());
        let closing = app.closing().clone();
        let delivering = app.tasks().spawn(deliver_all(app.clone(), app.webhooks().subscribe()));
        let bulks = app.tasks().spawn(carry_out_all(app.clone()));
        app.tasks().spawn(audit::shorten(app.clone()));
        let serving =
            server::serve(listener, router, app.limits(), tls.as_ref(), &closing, app.tasks());
        let draining = async {
            shutdown.cancelled().await;
            app.unready();
            tracing::info!("draining: no longer ready, no further call is handed out");
            let report = match app.take_worker() {
                Some(worker) => worker.shutdown().await,
                None => DrainReport { sagas: 0, gave_up: false },
            };
            closing.cancel();
            report
        };
        let served = async {
            let report = tokio::join!(serving, draining).1;
            // It ends with the streams, after its leases were handed back.
            drop((delivering.await, bulks.await));
            report
        };
        tokio::select! {
            biased;
            report = served => report,
            () = app.metrics().keep_looking(&app) => unreachable!("it looks for ever"),
        }
    }
}

impl DaemonBuilder {
    /// Adds a definition; see [`WorkerBuilder::register`].
    pub fn register(mut self, definition: Definition) -> Self {
        self.definitions.push(definition);
        self
    }

    /// Sets the figures of the worker: its name, concurrency, leases, drain timeout.
    pub fn worker(
        mut self,
        tune: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static,
    ) -> Self {
        self.tune = Some(Box::new(tune));
        self
    }

    /// The keys of those who may use the API. Without any, everybody who reaches it may do
    /// everything, and it only serves addresses of the same machine.
    pub fn keys(mut self, keys: ApiKeys) -> Self {
        self.keys = keys;
        self
    }

    /// Serves addresses that other machines reach even without keys.
    pub fn insecure(mut self) -> Self {
        self.exposure = Exposure::Anywhere;
        self
    }

    /// Names under which it may be reached beside those of the same machine, without ports.
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts.extend(hosts);
        self
    }

    /// The bounds of the HTTP side.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the instruments of this process are read, for `/metrics`. Without it only what the
    /// daemon itself counts is there, and nothing of its worker.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Other sites whose pages may open event streams and WebSockets here, such as
    /// `https://shop.example`. Pages of the daemon's own address always may, programs too.
    pub fn origins(mut self, origins: impl IntoIterator<Item = String>) -> Self {
        self.origins = origins.into_iter().collect();
        self
    }

    /// Serves https and nothing else. Who may do what is still told by keys.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whom to tell of verdicts and of sagas that are stuck. The store has to have a feed.
    pub fn webhooks(mut self, webhooks: Webhooks) -> Self {
        self.webhooks = webhooks;
        self
    }

    /// How long entries of the audit trail are kept; `None` for ever. Default 400 days. Counted by the
    /// store's clock; with several daemons on one store the shortest counts.
    pub fn audit_retention(mut self, age: Option<Duration>) -> Self {
        self.audit_retention = age;
        self
    }

    /// Starts the worker on a listener of its own choice. A daemon without definitions has no
    /// worker: it serves the API for the workers of other processes.
    ///
    /// # Errors
    /// [`DaemonError`] naming what is wrong; nothing runs then.
    pub async fn start(self, listener: TcpListener) -> Result<Daemon, DaemonError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && self.keys.is_empty() {
            match self.exposure {
                Exposure::Loopback => return Err(DaemonError::Exposed { address }),
                Exposure::Anywhere => tracing::warn!(
                    %address,
                    "INSECURE: everybody who reaches this address may do everything, because there are no API keys"
                ),
            }
        }
        if !address.ip().is_loopback() && !self.keys.is_empty() && self.tls.is_none() {
            tracing::warn!(
                %address,
                "API keys cross the network in the clear unless a proxy with TLS stands before this address: --tls-cert and --tls-key, or such a proxy"
            );
        }
        if !self.webhooks.is_empty()
            && let Err(FeedError::Unsupported(why)) = self.store.feed_edge(FeedEdge::Newest).await
        {
            return Err(DaemonError::NoFeed(why));
        }
        let metrics = match self.metrics {
            Some(metrics) => metrics,
            None => Metrics::new()?,
        };
        let (client, worker) = if self.definitions.is_empty() {
            (Client::new(self.store, Vec::new())?, None)
        } else {
            let builder = self
                .definitions
                .into_iter()
                .fold(Worker::builder(self.store), WorkerBuilder::register);
            let builder = match self.tune {
                Some(tune) => tune(builder),
                None => builder,
            };
            let worker = builder.start().await?;
            (worker.client().clone(), Some(worker))
        };
        let app = App::new(Shared {
            client,
            worker: Mutex::new(worker),
            keys: RwLock::new(self.keys),
            hosts: RwLock::new(self.hosts),
            exposure: self.exposure,
            limits: self.limits,
            metrics,
            address,
            places: Arc::default(),
            rates: Rates::default(),
            origins: self.origins,
            feed: Feed::default(),
            tickets: Tickets::default(),
            refusals: Refusals::default(),
            audit_retention: self.audit_retention,
            webhooks: watch::Sender::new(self.webhooks),
            tasks: TaskTracker::new(),
            ready: AtomicBool::new(true),
            closing: CancellationToken::new(),
            specs: Mutex::new(BTreeMap::new()),
        });
        Ok(Daemon { listener, app, tls: self.tls })
    }

    /// Starts and serves until `shutdown` fires; see [`Daemon::run`].
    ///
    /// # Errors
    /// As [`DaemonBuilder::start`].
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<DrainReport, DaemonError> {
        Ok(self.start(listener).await?.run(shutdown).await)
    }
}

impl std::fmt::Debug for DaemonBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonBuilder")
            .field("definitions", &self.definitions)
            .field("keys", &self.keys)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Other machines could do everything.
    #[error(
        "{address} can be reached from other machines, and there are no API keys: add keys (`saga-worker keys new`), listen on 127.0.0.1, or say --insecure"
    )]
    Exposed {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Webhooks live on the feed of all sagas.
    #[error(
        "webhooks need a store with a feed of all sagas, and this one has none ({0}): remove the webhooks from the configuration, or use another store"
    )]
    NoFeed(String),
    /// The worker cannot start.
    #[error(transparent)]
    Worker(#[from] BuildError),
    /// The definitions do not fit together.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The instruments cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] OTelSdkError),
    /// The listener cannot be used.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] io::Error),
}
