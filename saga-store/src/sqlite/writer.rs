//! The one writer: everything that changes the database goes through its queue.
//!
//! While a commit is in flight, further changes queue up; the next transaction takes them all.
//! So an idle store commits at once, a busy one shares each commit among many callers, and no
//! timer is involved. Callers are answered after the commit, never before.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use saga_core::store::StoreError;
use sqlx::SqliteConnection;
use tokio::runtime::Builder;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::hint::Hint;
use super::session::Session;

/// Changes that may wait for the writer; callers beyond that wait to get in line.
const QUEUE_MAX: usize = 1_024;

/// Most changes in one transaction.
const BATCH_MAX: usize = 256;

/// Something that changes the database, as part of a transaction of the writer.
///
/// Conditions are part of its statements, so a change that may not happen changes nothing and
/// says so in its outcome. It may run again after a transaction that failed.
#[async_trait]
pub(super) trait Change: Send + Sync + 'static {
    /// What the caller learns after the commit.
    type Outcome: Send + 'static;

    /// Runs the statements.
    async fn run(&self, db: &mut SqliteConnection) -> Result<Self::Outcome, sqlx::Error>;

    /// Whether there may be something to claim after it.
    fn makes_due(&self, outcome: &Self::Outcome) -> bool {
        let _ = outcome;
        false
    }
}

/// The way to the writer. The writer ends when the last handle is dropped and its queue is empty.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Entry>>,
}

impl Writer {
    /// Starts the writer.
    ///
    /// It has a thread of its own: between the statements of a transaction it holds the lock that
    /// all processes share on the file, and must not then wait for a runtime whose threads are
    /// busy with something else. Nor does a transaction end half-way with the caller's runtime.
    pub(super) fn start(session: Session, hint: Arc<Hint>) -> Result<Self, StoreError> {
        let (queue, entries) = mpsc::channel(QUEUE_MAX);
        let failed =
            |error| StoreError::Unavailable(format!("starting the thread that writes: {error}"));
        let runtime = Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let writer = supervise(session, hint, Arc::new(Mutex::new(entries)));
        let thread = std::thread::Builder::new().name("saga-writer".into());
        thread.spawn(move || runtime.block_on(writer)).map_err(failed)?;
        Ok(Self { queue })
    }

    /// Has a change made, and answers once it is durable.
    ///
    /// A caller that goes away before its change got in line leaves nothing behind; later, the
    /// change is made all the same.
    pub(super) async fn write<C: Change>(&self, change: C) -> Result<C::Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let entry = Box::new(Queued { change, outcome: None, reply });
        self.queue.send(entry).await.map_err(|_| broken_off())?;
        outcome.await.unwrap_or_else(|_| Err(broken_off()))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("free", &self.queue.capacity()).finish()
    }
}

fn broken_off() -> StoreError {
    StoreError::Unavailable(
        "the writer was broken off, so it is unknown what became of this".into(),
    )
}

/// A change in line, with the one who waits for it.
#[async_trait]
trait Entry: Send {
    async fn run(&mut self, db: &mut SqliteConnection) -> Result<(), sqlx::Error>;

    fn makes_due(&self) -> bool;

    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Queued<C: Change> {
    change: C,
    outcome: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, StoreError>>,
}

#[async_trait]
impl<C: Change> Entry for Queued<C> {
    async fn run(&mut self, db: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.outcome = Some(self.change.run(db).await?);
        Ok(())
    }

    fn makes_due(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| self.change.makes_due(outcome))
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, reply, .. } = *self;
        let outcome = committed.map(|()| outcome.expect("what was committed has run"));
        // The caller may have gone away; the change stands nevertheless.
        drop(reply.send(outcome));
    }
}

type Entries = mpsc::Receiver<Box<dyn Entry>>;

/// Keeps a writer going: when a change panics, those of its batch are answered by the fall of
/// their channels, and a new writer takes the queue over.
async fn supervise(mut session: Session, hint: Arc<Hint>, entries: Arc<Mutex<Entries>>) {
    loop {
        let spare = session.another();
        let writer = tokio::spawn(write_on(session, hint.clone(), entries.clone()));
        match writer.await {
            Err(error) if error.is_panic() => tracing::error!(%error, "the writer panicked"),
            Ok(()) | Err(_) => return,
        }
        session = spare;
    }
}

async fn write_on(mut session: Session, hint: Arc<Hint>, entries: Arc<Mutex<Entries>>) {
    let mut entries = entries.lock().await;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
        settle(&mut session, &hint, &mut batch).await;
    }
    session.close().await;
}

/// Makes the changes of a batch durable and answers all who wait for them.
///
/// When the transaction fails, each change is tried again in one of its own, so that one which
/// cannot be made does not take the others with it.
async fn settle(session: &mut Session, hint: &Hint, batch: &mut Vec<Box<dyn Entry>>) {
    match transact(session, hint, batch).await {
        Ok(()) => batch.drain(..).for_each(|entry| entry.answer(Ok(()))),
        Err(Trouble::Changes(_)) if batch.len() > 1 => settle_singly(session, hint, batch).await,
        Err(trouble) => {
            let error = trouble.into_error();
            batch.drain(..).for_each(|entry| entry.answer(Err(error.clone())));
        }
    }
}

async fn settle_singly(session: &mut Session, hint: &Hint, batch: &mut Vec<Box<dyn Entry>>) {
    // Once no transaction can be begun any more, nobody has to wait for that again.
    let mut barred = None;
    for mut entry in batch.drain(..) {
        let alone = match &barred {
            None => transact(session, hint, std::slice::from_mut(&mut entry)).await,
            Some(error) => Err(Trouble::Begin(StoreError::clone(error))),
        };
        if let Err(Trouble::Begin(error)) = &alone {
            barred = Some(error.clone());
        }
        entry.answer(alone.map_err(Trouble::into_error));
    }
}

async fn transact(
    session: &mut Session,
    hint: &Hint,
    batch: &mut [Box<dyn Entry>],
) -> Result<(), Trouble> {
    let (db, written_by_others) = session.begin().await.map_err(Trouble::Begin)?;
    let writing = hint.writing();
    let mut made = Ok(());
    for entry in batch.iter_mut() {
        made = entry.run(db).await;
        if made.is_err() {
            break;
        }
    }
    session.end(made).await.map_err(Trouble::Changes)?;
    drop(writing);
    if written_by_others || batch.iter().any(|entry| entry.makes_due()) {
        hint.give();
    }
    Ok(())
}

/// Why a transaction did not happen.
enum Trouble {
    /// It did not get as far as its first change.
    Begin(StoreError),
    /// One of the changes failed, or the commit of all.
    Changes(StoreError),
}

impl Trouble {
    fn into_error(self) -> StoreError {
        match self {
            Self::Begin(error) | Self::Changes(error) => error,
        }
    }
}
