//! Where everything is kept: files, or a server of the soak's own behind its proxy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use throwaway_postgres::{Cluster, Settings};

use super::options::StoreKind;
use super::proxy::Proxy;
use super::sql::Place;

/// The name of the database on the server.
const DATABASE: &str = "soak";

/// The databases of one soak.
#[derive(Debug)]
pub(super) enum Ground {
    /// Files in a folder.
    Files(PathBuf),
    /// A server.
    Server(Server),
}

/// A PostgreSQL server that can be crashed.
#[derive(Debug)]
pub(super) struct Server {
    cluster: Arc<Mutex<Cluster>>,
    url: String,
    proxy: Proxy,
    /// How often the server was down or the proxy disturbed connections.
    begun: AtomicU64,
    ended: AtomicU64,
    /// How long the server was down, in all.
    down_ms: AtomicU64,
}

impl Ground {
    /// Prepares the databases.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub(super) async fn prepare(store: StoreKind, folder: &Path) -> anyhow::Result<Self> {
        match store {
            StoreKind::Sqlite => Ok(Self::Files(folder.to_owned())),
            StoreKind::Postgres => Server::start().await.map(Self::Server),
        }
    }

    /// The database of the sagas, as the flags of workers and the order service name it.
    pub(super) fn sagas_address(&self) -> String {
        match self {
            Self::Files(folder) => folder.join("sagas.db").display().to_string(),
            Self::Server(server) => server.proxy.url(DATABASE),
        }
    }

    /// The database of a participant, as its flag names it.
    pub(super) fn address(&self, service: &str) -> String {
        match self {
            Self::Files(folder) => folder.join(format!("{service}.db")).display().to_string(),
            Self::Server(server) => server.url.clone(),
        }
    }

    /// Where to read the sagas, with nothing in between.
    pub(super) fn sagas(&self) -> Place {
        match self {
            Self::Files(folder) => Place::Sqlite(folder.join("sagas.db")),
            Self::Server(server) => Place::Postgres { url: server.url.clone(), schema: "public" },
        }
    }

    /// Where to read the books of a participant.
    pub(super) fn books(&self, service: &'static str) -> Place {
        match self {
            Self::Files(folder) => Place::Sqlite(folder.join(format!("{service}.db"))),
            Self::Server(server) => Place::Postgres { url: server.url.clone(), schema: service },
        }
    }

    /// The server, if there is one.
    pub(super) fn server(&self) -> Option<&Server> {
        match self {
            Self::Files(_) => None,
            Self::Server(server) => Some(server),
        }
    }

    /// Nothing while something disturbs the database; else a number that is another one after the
    /// next disturbance.
    pub(super) fn calm(&self) -> Option<u64> {
        let Some(server) = self.server() else { return Some(0) };
        let ended = server.ended.load(Ordering::SeqCst);
        (server.begun.load(Ordering::SeqCst) == ended).then_some(ended)
    }

    /// Whether the database was calm all the time since it was asked about before.
    pub(super) fn is_calm_since(&self, before: Option<u64>) -> bool {
        before.is_some() && self.calm() == before
    }
}

impl Server {
    async fn start() -> anyhow::Result<Self> {
        let started = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::start(&Settings::default())?;
            let url = cluster.create_database(DATABASE)?;
            Ok::<_, throwaway_postgres::Error>((cluster, url))
        });
        let (cluster, url) = started.await.context("the start of PostgreSQL panicked")??;
        let proxy = Proxy::start(cluster.port()).await?;
        let cluster = Arc::new(Mutex::new(cluster));
        let [begun, ended, down_ms] = [0; 3].map(AtomicU64::new);
        Ok(Self { cluster, url, proxy, begun, ended, down_ms })
    }

    /// The proxy between the workers and the server.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Marks the beginning of a disturbance, and its end when the mark is dropped.
    pub(super) fn disturb(&self) -> Disturbance<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Disturbance(self)
    }

    /// How long the server was down, in all.
    pub(super) fn down(&self) -> Duration {
        Duration::from_millis(self.down_ms.load(Ordering::SeqCst))
    }

    /// Ends the server for about so long.
    ///
    /// # Errors
    /// When it cannot be ended or started again.
    pub(super) async fn outage(&self, crash: bool, pause: Duration) -> anyhow::Result<()> {
        let _disturbance = self.disturb();
        let began = Instant::now();
        let ended = self.end(crash).await;
        tokio::time::sleep(pause).await;
        let restarted = self.restart().await;
        let down_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.down_ms.fetch_add(down_ms, Ordering::SeqCst);
        ended.and(restarted)
    }

    /// Ends the server, by SIGKILL or by its own immediate way.
    ///
    /// # Errors
    /// When it cannot be ended.
    async fn end(&self, crash: bool) -> anyhow::Result<()> {
        self.with(move |cluster| if crash { cluster.crash() } else { cluster.quit() }).await
    }

    /// Starts it again on its old port.
    ///
    /// # Errors
    /// What the server said.
    async fn restart(&self) -> anyhow::Result<()> {
        self.with(Cluster::restart).await
    }

    async fn with(
        &self,
        work: impl FnOnce(&mut Cluster) -> Result<(), throwaway_postgres::Error> + Send + 'static,
    ) -> anyhow::Result<()> {
        let cluster = Arc::clone(&self.cluster);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(done.await.context("the work on PostgreSQL panicked")??)
    }
}

/// Something disturbs the database as long as this lives.
#[derive(Debug)]
pub(super) struct Disturbance<'a>(&'a Server);

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}
