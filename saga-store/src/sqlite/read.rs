//! Reads: a few connections that cannot write, beside the writer's.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use saga_core::store::StoreError;
use tokio::sync::Semaphore;

use super::failure::classify;
use super::open::SqliteOptions;

/// Most reads at the same time; further ones wait their turn.
const READERS_MAX: usize = 4;

/// The connections that read. Each statement, or transaction of several, sees one snapshot.
#[derive(Clone)]
pub(super) struct Reader {
    options: Arc<SqliteOptions>,
    turns: Arc<Semaphore>,
    /// Locked to take one out and to put it back, never across an await.
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    /// Opens connections as they are needed.
    pub(super) fn new(options: SqliteOptions) -> Self {
        let turns = Arc::new(Semaphore::new(READERS_MAX));
        Self { options: Arc::new(options), turns, idle: Arc::default() }
    }

    /// Does a piece of reading on a thread that may block, which the caller merely awaits: a
    /// caller that goes away does not leave a connection in the middle of an answer.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|error| broken_off(&error))?;
        let reader = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut db = reader.connection()?;
            let outcome = work(&mut db);
            // One that failed may be in any state: it is closed.
            if outcome.is_ok() {
                reader.idle().push(db);
            }
            outcome
        });
        task.await.unwrap_or_else(|error| Err(broken_off(&error)))
    }

    fn connection(&self) -> Result<Connection, StoreError> {
        if let Some(db) = self.idle().pop() {
            return Ok(db);
        }
        let opened = self.options.connect_to_read();
        opened.map_err(|error| classify("opening the database to read", &error))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken_off(error: &dyn fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("a read was broken off: {error}"))
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("free", &self.turns.available_permits()).finish()
    }
}
