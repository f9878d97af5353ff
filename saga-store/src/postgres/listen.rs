//! Wake-ups: in this process by a notification, from other processes by LISTEN and NOTIFY.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::StoreError;
use sqlx::Error;
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::connect::Connector;
use super::failure::classify;
use super::lane::{Session, Work};

/// The channel that all processes on one database share.
const CHANNEL: &str = "saga_due";
/// Least time between two notifications of one process: a burst of starts needs only one.
const QUIET: Duration = Duration::from_millis(10);
/// A listening connection is made anew this often, because a silent one cannot be told from a dead one.
const LISTEN_MAX: Duration = Duration::from_secs(60);
/// Pause before trying to listen again after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Where waiters for work are told that there may be some. Only ever a hint: polling is the floor.
#[derive(Debug)]
pub(super) struct Hint {
    /// Wakes those who wait for work in this process.
    due: Notify,
    waiting: AtomicUsize,
    /// Wakes the task that tells other processes.
    tell: Notify,
}

impl Hint {
    /// Starts to tell and to listen, for as long as somebody holds the hint.
    pub(super) fn start(connector: Connector) -> Arc<Self> {
        let hint = Arc::new(Self { due: Notify::new(), waiting: 0.into(), tell: Notify::new() });
        tokio::spawn(tell(Arc::downgrade(&hint), connector.clone()));
        tokio::spawn(listen(Arc::downgrade(&hint), connector));
        hint
    }

    /// There may be work: wakes everybody who waits here, else the next one to wait, and tells
    /// the other processes.
    pub(super) fn give(&self) {
        self.wake();
        self.tell.notify_one();
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            self.due.notify_one();
        } else {
            self.due.notify_waiters();
        }
    }

    /// Resolves on the next hint.
    pub(super) async fn wait(&self) {
        let _waiting = Waiting::new(&self.waiting);
        self.due.notified().await;
    }
}

/// Counts a waiter for as long as its future lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells other processes, at most once per [`QUIET`]. A message that is lost costs them a poll.
async fn tell(hint: std::sync::Weak<Hint>, connector: Connector) {
    let mut session = Session::new(connector);
    while let Some(strong) = hint.upgrade() {
        let told = tokio::time::timeout(PAUSE, strong.tell.notified()).await;
        drop(strong);
        if told.is_ok() {
            if let Err(error) = session.run(&Tell).await {
                tracing::debug!(%error, "cannot tell other processes of due sagas");
            }
            sleep(QUIET).await;
        }
    }
}

/// Tells other processes when the transaction on this connection commits.
pub(super) async fn tell_at_commit(db: &mut PgConnection) -> Result<(), StoreError> {
    Tell.run(db).await.map_err(|error| classify(Tell.what(), &error))
}

struct Tell;

#[async_trait]
impl Work for Tell {
    type Outcome = ();

    fn what(&self) -> String {
        "notifying other processes".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(db).await.map(drop)
    }
}

async fn listen(hint: std::sync::Weak<Hint>, connector: Connector) {
    while hint.strong_count() > 0 {
        if let Err(error) = listen_for_a_while(&hint, &connector).await {
            tracing::debug!(%error, "cannot listen for due sagas; polling goes on");
            sleep(PAUSE).await;
        }
    }
}

async fn listen_for_a_while(
    hint: &std::sync::Weak<Hint>,
    connector: &Connector,
) -> Result<(), Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(connector.options());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    let until = Instant::now() + LISTEN_MAX;
    while let Ok(heard) = timeout_at(until, listener.recv()).await {
        heard?;
        match hint.upgrade() {
            Some(hint) => hint.wake(),
            None => return Ok(()),
        }
    }
    Ok(())
}
