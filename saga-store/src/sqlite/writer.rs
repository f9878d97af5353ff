//! The one writer: everything that changes the database goes through its queue.
//!
//! While a commit is in flight, further changes queue up; the next transaction takes them all.
//! So an idle store commits at once, a busy one shares each commit among many callers, and no
//! timer is involved. Callers are answered after the commit, never before.

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, Result};
use saga_core::store::StoreError;
use tokio::sync::{mpsc, oneshot};

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
pub(super) trait Change: Send + Sync + 'static {
    /// What the caller learns after the commit.
    type Outcome: Send + 'static;

    /// Runs the statements.
    fn run(&self, db: &Connection) -> Result<Self::Outcome>;

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
        let thread = std::thread::Builder::new().name("saga-writer".into());
        thread.spawn(move || write_on(session, &hint, entries)).map_err(|error| {
            StoreError::Unavailable(format!("starting the thread that writes: {error}"))
        })?;
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
trait Entry: Send {
    fn run(&mut self, db: &Connection) -> Result<()>;

    fn makes_due(&self) -> bool;

    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Queued<C: Change> {
    change: C,
    outcome: Option<C::Outcome>,
    reply: oneshot::Sender<Result<C::Outcome, StoreError>>,
}

impl<C: Change> Entry for Queued<C> {
    fn run(&mut self, db: &Connection) -> Result<()> {
        self.outcome = Some(self.change.run(db)?);
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

/// Writes until the last handle is dropped. When a change panics, those of its batch are answered
/// by the fall of their channels, and the writer goes on with a connection of a known state.
fn write_on(mut session: Session, hint: &Hint, mut entries: mpsc::Receiver<Box<dyn Entry>>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while entries.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let settled = catch_unwind(AssertUnwindSafe(|| settle(&mut session, hint, &mut batch)));
        if settled.is_err() {
            tracing::error!("a change panicked; its batch was not made");
            session.close();
            batch.clear();
        }
    }
    session.close();
}

/// Makes the changes of a batch durable and answers all who wait for them.
///
/// When the transaction fails, each change is tried again in one of its own, so that one which
/// cannot be made does not take the others with it.
fn settle(session: &mut Session, hint: &Hint, batch: &mut Vec<Box<dyn Entry>>) {
    match transact(session, hint, batch) {
        Ok(()) => batch.drain(..).for_each(|entry| entry.answer(Ok(()))),
        Err(Trouble::Changes(_)) if batch.len() > 1 => settle_singly(session, hint, batch),
        Err(trouble) => {
            let error = trouble.into_error();
            batch.drain(..).for_each(|entry| entry.answer(Err(error.clone())));
        }
    }
}

fn settle_singly(session: &mut Session, hint: &Hint, batch: &mut Vec<Box<dyn Entry>>) {
    // Once no transaction can be begun any more, nobody has to wait for that again.
    let mut barred = None;
    for mut entry in batch.drain(..) {
        let alone = match &barred {
            None => transact(session, hint, std::slice::from_mut(&mut entry)),
            Some(error) => Err(Trouble::Begin(StoreError::clone(error))),
        };
        if let Err(Trouble::Begin(error)) = &alone {
            barred = Some(error.clone());
        }
        entry.answer(alone.map_err(Trouble::into_error));
    }
}

fn transact(
    session: &mut Session,
    hint: &Hint,
    batch: &mut [Box<dyn Entry>],
) -> Result<(), Trouble> {
    let (db, written_by_others) = session.begin().map_err(Trouble::Begin)?;
    let begun = Instant::now();
    let writing = hint.writing();
    let made = batch.iter_mut().try_for_each(|entry| entry.run(db));
    session.end(made).map_err(Trouble::Changes)?;
    drop(writing);
    session.tell(batch.len(), begun);
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
