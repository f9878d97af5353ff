//! The writer's connection and its transactions.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Result};
use saga_core::store::StoreError;

use super::failure::{classify, is_busy};
use super::open::SqliteOptions;
use super::statement::{execute, one};

/// How long the writer stays in line for the lock that all processes share on the file. Each
/// wait is bounded by the connection's busy timeout; this bounds their sum.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// While other processes write too, the lock is left free for this long between two transactions:
/// longer than the pause between two looks of those who wait for it, or a busy writer would take
/// it again before anybody saw it free.
const GIVE_WAY: Duration = Duration::from_millis(1);

/// How long after another process has written it counts as writing still.
const NEIGHBOUR_KEPT: Duration = Duration::from_millis(100);

/// The one connection that writes, opened anew after every failure: whatever state the old one
/// was in is gone with it.
#[derive(Debug)]
pub(super) struct Session {
    options: SqliteOptions,
    db: Option<Connection>,
    /// Moves when another connection has written.
    data_version: Option<i64>,
    /// When that was last seen to have happened.
    neighbour_seen: Option<Instant>,
}

impl Session {
    /// A session on a file that exists. It connects when there is something to write.
    pub(super) fn new(options: SqliteOptions) -> Self {
        Self { options, db: None, data_version: None, neighbour_seen: None }
    }

    /// Begins a transaction that holds the lock on the file from the start, so that nothing in it
    /// can fail for want of the lock. Also tells whether others have written since the last one.
    pub(super) fn begin(&mut self) -> Result<(&Connection, bool), StoreError> {
        if self.neighbour_seen.is_some_and(|seen| seen.elapsed() < NEIGHBOUR_KEPT) {
            std::thread::sleep(GIVE_WAY);
        }
        let since = Instant::now();
        let version = loop {
            match self.try_begin() {
                Ok(version) => break version,
                Err(error) if is_busy(&error) && since.elapsed() < LOCK_WAIT_MAX => {}
                Err(error) => {
                    self.close();
                    return Err(classify("beginning a transaction", &error));
                }
            }
        };
        let before = self.data_version.replace(version);
        let written_by_others = before.is_some_and(|before| before != version);
        if written_by_others {
            self.neighbour_seen = Some(Instant::now());
        }
        let db = self.db.as_ref().expect("a transaction has begun on it");
        Ok((db, written_by_others))
    }

    fn try_begin(&mut self) -> Result<i64> {
        let db = match &mut self.db {
            Some(db) => db,
            closed => closed.insert(self.options.connect_to_write()?),
        };
        execute(db, "BEGIN IMMEDIATE", [])?;
        one(db, "PRAGMA data_version", []).map(|(version,)| version)
    }

    /// Commits when all changes were made. Otherwise, or when the commit fails, nothing of the
    /// transaction remains.
    pub(super) fn end(&mut self, made: Result<()>) -> Result<(), StoreError> {
        let db = self.db.as_ref().expect("a transaction has begun on it");
        if let Err(error) = made.and_then(|()| execute(db, "COMMIT", [])) {
            tracing::warn!(%error, "a transaction failed; its connection is replaced");
            self.close();
            return Err(classify("writing", &error));
        }
        Ok(())
    }

    /// Tells of a commit of so many changes, begun then.
    pub(super) fn tell(&self, changes: usize, begun: Instant) {
        if let Some(on_commit) = self.options.told_of_commits() {
            on_commit.tell(changes, begun.elapsed());
        }
    }

    /// Closes the connection, which rolls back what was not committed.
    pub(super) fn close(&mut self) {
        self.data_version = None;
        if let Some(db) = self.db.take()
            && let Err((_, error)) = db.close()
        {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}
