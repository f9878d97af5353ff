//! Lanes: tasks that own one connection each and do one piece of work at a time.
//!
//! No caller ever holds a connection or the future of a statement, so none can be left half-way
//! by a caller that goes away. A server that does not answer costs its lane a reconnect; there is
//! no pool that could be poisoned or run dry for ever.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::StoreError;
use sqlx::Error;
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::connect::Connector;
use super::failure::{Remedy, classify, remedy};

/// Pieces of work that may wait; callers beyond that wait to get in line.
const QUEUE_MAX: usize = 1_024;
/// How long a statement may go unanswered before the connection counts as dead. Longer than the
/// server's own limit, which ends statements that are merely slow.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(9);
/// How long a piece of work is tried again before its caller is told.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A piece of work for one connection.
///
/// It may run several times: when the server says that it did not happen, and, if it is
/// [`Work::repeatable`], also when it is unknown whether it did.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What the caller learns.
    type Outcome: Send + 'static;

    /// What it is about, for messages.
    fn what(&self) -> String;

    /// Runs the statements: one that changes something, or several that only read.
    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error>;

    /// How long its statements, or the making of a connection for them, may go unanswered before
    /// the connection counts as dead and the work is tried on another.
    fn answer_max(&self) -> Duration {
        ANSWER_MAX
    }

    /// Whether running it again is harmless after a run whose outcome is unknown.
    fn repeatable(&self) -> bool {
        true
    }
}

/// Some lanes with a common queue.
#[derive(Clone)]
pub(super) struct Lanes {
    queue: mpsc::Sender<Box<dyn Errand>>,
}

impl Lanes {
    /// Starts `count` lanes on the current runtime. They connect when there is work.
    pub(super) fn start(count: usize, connector: &Connector) -> Self {
        let (queue, errands) = mpsc::channel(QUEUE_MAX);
        let errands = Arc::new(Mutex::new(errands));
        for _ in 0..count {
            tokio::spawn(serve(Session::new(connector.clone()), errands.clone()));
        }
        Self { queue }
    }

    /// Has a piece of work done. Once in line it is done even if the caller goes away.
    pub(super) async fn run<W: Work>(&self, work: W) -> Result<W::Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let closed = |what: &str| StoreError::Unavailable(format!("{what}: the store is closed"));
        let what = work.what();
        let errand = Box::new(Waiting { work, reply });
        self.queue.send(errand).await.map_err(|_| closed(&what))?;
        outcome.await.unwrap_or_else(|_| Err(closed(&what)))
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes").field("free", &self.queue.capacity()).finish()
    }
}

#[async_trait]
trait Errand: Send {
    async fn run(self: Box<Self>, session: &mut Session);
}

struct Waiting<W: Work> {
    work: W,
    reply: oneshot::Sender<Result<W::Outcome, StoreError>>,
}

#[async_trait]
impl<W: Work> Errand for Waiting<W> {
    async fn run(self: Box<Self>, session: &mut Session) {
        let outcome = session.run(&self.work).await;
        // The caller may have gone away.
        drop(self.reply.send(outcome));
    }
}

async fn serve(mut session: Session, errands: Arc<Mutex<mpsc::Receiver<Box<dyn Errand>>>>) {
    loop {
        let errand = errands.lock().await.recv().await;
        match errand {
            Some(errand) => errand.run(&mut session).await,
            None => return,
        }
    }
}

/// One connection, replaced whenever it is of no further use.
#[derive(Debug)]
pub(super) struct Session {
    connector: Connector,
    db: Option<PgConnection>,
}

impl Session {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, db: None }
    }

    /// Does a piece of work, with as many tries as it bears and the caller's patience allows.
    pub(super) async fn run<W: Work>(&mut self, work: &W) -> Result<W::Outcome, StoreError> {
        let since = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            let (error, again) = match self.attempt(work).await {
                Ok(outcome) => return Ok(outcome),
                Err(Failed::Before(error)) => (error, true),
                Err(Failed::Run(error)) => {
                    let again = match remedy(&error) {
                        Remedy::Repeat => true,
                        Remedy::Reconnect => work.repeatable(),
                        Remedy::Later | Remedy::Corrupt | Remedy::Never => false,
                    };
                    (error, again)
                }
            };
            if remedy(&error) == Remedy::Reconnect {
                self.db = None;
            }
            if !again || remedy(&error) == Remedy::Never || since.elapsed() > PATIENCE {
                return Err(classify(work.what(), &error));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt<W: Work>(&mut self, work: &W) -> Result<W::Outcome, Failed> {
        let mut db = match self.db.take() {
            Some(db) => db,
            None => {
                self.connector.connect_within(work.answer_max()).await.map_err(Failed::Before)?
            }
        };
        // A connection that does not answer is dropped with the future that waits for it: it is
        // never used again, so nothing half-read or half-written can matter.
        match timeout(work.answer_max(), work.run(&mut db)).await {
            Ok(result) => {
                self.db = Some(db);
                result.map_err(Failed::Run)
            }
            Err(_) => Err(Failed::Run(Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }
}

enum Failed {
    /// There was no connection, so the work was not begun.
    Before(Error),
    /// The work itself.
    Run(Error),
}
