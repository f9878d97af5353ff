//! The thread that writes: one transaction for all calls that wait, and each alone where that fails.
//!
//! Whatever breaks a shared transaction, the answer is the same: it is rolled back and every call of
//! it gets a transaction of its own. That is always right, for the barrier bears repeated calls, its
//! own included: one that was committed after all is found in its guard row.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::BarrierError;
use super::step::{self, Broken};
use crate::answer::Answer;
use crate::call::CallIdentity;
use crate::faults;

/// Most entries in one round of the writer.
const BATCH_MAX: usize = 128;

/// What waits for the writer.
pub(super) enum Entry {
    /// A call of the engine.
    Call(Call),
    /// Something between the transactions, such as creating the table.
    Work(Box<dyn FnOnce(&mut Connection) + Send>),
}

/// A call in line, with the one who waits for its answer.
pub(super) struct Call {
    pub(super) identity: CallIdentity,
    /// Given the recorded output of the action, as JSON.
    pub(super) business: Box<Business>,
    pub(super) reply: oneshot::Sender<Result<Answer, BarrierError>>,
}

type Business = dyn FnMut(&mut Connection, &str) -> Result<Answer, BarrierError> + Send;

/// Writes until the last handle is dropped and the queue is empty.
pub(super) fn write_on(mut db: Connection, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while entries.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let mut calls = Vec::with_capacity(batch.len());
        for entry in batch.drain(..) {
            match entry {
                Entry::Call(call) => calls.push(call),
                // Nobody waits for what panicked any more: its channel has fallen.
                Entry::Work(work) => drop(catch_unwind(AssertUnwindSafe(|| work(&mut db)))),
            }
        }
        if !calls.is_empty() {
            settle(&mut db, calls);
        }
    }
}

/// Why a transaction came to nothing.
enum Stopped {
    /// It could not begin: the database is locked or gone.
    Unbegun(rusqlite::Error),
    /// It was rolled back.
    Broken(Broken),
    /// Business code panicked; it was rolled back.
    Panicked(Box<dyn Any + Send>),
}

/// Makes the calls durable and answers those who wait. The reply may find nobody: what a caller that
/// went away has asked for stands nevertheless.
fn settle(db: &mut Connection, mut calls: Vec<Call>) {
    match transaction(db, &mut calls) {
        Ok(answers) => {
            for (call, answer) in calls.into_iter().zip(answers) {
                drop(call.reply.send(answer));
            }
        }
        Err(Stopped::Unbegun(error)) => {
            for call in calls {
                drop(call.reply.send(Err(BarrierError::unavailable(error.to_string()))));
            }
        }
        Err(Stopped::Broken(_) | Stopped::Panicked(_)) if calls.len() > 1 => {
            for call in calls {
                settle(db, vec![call]);
            }
        }
        Err(stopped) => {
            for call in calls {
                drop(call.reply.send(Err(alone(&stopped))));
            }
        }
    }
}

/// The error of the one call that was in a transaction.
fn alone(stopped: &Stopped) -> BarrierError {
    match stopped {
        Stopped::Unbegun(error) => BarrierError::unavailable(error.to_string()),
        Stopped::Broken(Broken(error)) => BarrierError::database(error.to_string()),
        Stopped::Panicked(panic) => {
            let said = panic.downcast_ref::<&str>().map(ToString::to_string);
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            BarrierError::lost(format!("the business code panicked: {}", said.unwrap_or_default()))
        }
    }
}

/// Runs calls in one transaction and commits it.
fn transaction(
    db: &mut Connection,
    calls: &mut [Call],
) -> Result<Vec<Result<Answer, BarrierError>>, Stopped> {
    step::run(db, "BEGIN IMMEDIATE", ()).map_err(Stopped::Unbegun)?;
    let done = catch_unwind(AssertUnwindSafe(|| {
        calls.iter_mut().map(|call| step::through(db, call)).collect::<Result<Vec<_>, _>>()
    }));
    let ended = match done {
        Ok(Ok(answers)) => commit(db).map(|()| answers).map_err(Stopped::Broken),
        Ok(Err(broken)) => Err(Stopped::Broken(broken)),
        Err(panic) => Err(Stopped::Panicked(panic)),
    };
    if ended.is_err() && !db.is_autocommit() {
        // A failure to roll back is no news: without a commit the database keeps nothing, and the
        // next transaction fails to begin.
        let _ = step::run(db, "ROLLBACK", ());
    }
    ended
}

fn commit(db: &Connection) -> Result<(), Broken> {
    faults::crash_here("commit.before");
    step::run(db, "COMMIT", ())?;
    faults::crash_here("commit.after");
    Ok(())
}
