//! The writer's connection and its transactions.

use std::time::{Duration, Instant};

use saga_core::store::StoreError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Error, SqliteConnection};

use super::failure::{classify, is_busy};

/// How long the writer stays in line for the lock that all processes share on the file. Each
/// wait is bounded by the connection's busy timeout; this bounds their sum.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// The one connection that writes, opened anew after every failure: whatever state the old one
/// was in is gone with it.
#[derive(Debug)]
pub(super) struct Session {
    options: SqliteConnectOptions,
    db: Option<SqliteConnection>,
    /// Moves when another connection has written.
    data_version: Option<i64>,
}

impl Session {
    /// A session on a connection that was opened with these options.
    pub(super) fn new(options: SqliteConnectOptions, db: SqliteConnection) -> Self {
        Self { options, db: Some(db), data_version: None }
    }

    /// A session that will open a connection of its own.
    pub(super) fn another(&self) -> Self {
        Self { options: self.options.clone(), db: None, data_version: None }
    }

    /// Begins a transaction that holds the lock on the file from the start, so that nothing in it
    /// can fail for want of the lock. Also tells whether others have written since the last one.
    pub(super) async fn begin(&mut self) -> Result<(&mut SqliteConnection, bool), StoreError> {
        let since = Instant::now();
        let version = loop {
            match self.try_begin().await {
                Ok(version) => break version,
                Err(error) if is_busy(&error) && since.elapsed() < LOCK_WAIT_MAX => {}
                Err(error) => {
                    self.close().await;
                    return Err(classify("beginning a transaction", &error));
                }
            }
        };
        let before = self.data_version.replace(version);
        let db = self.db.as_mut().expect("a transaction has begun on it");
        Ok((db, before.is_some_and(|before| before != version)))
    }

    async fn try_begin(&mut self) -> Result<i64, Error> {
        let db = match &mut self.db {
            Some(db) => db,
            closed => closed.insert(self.options.connect().await?),
        };
        sqlx::query_scalar("BEGIN IMMEDIATE; PRAGMA data_version").fetch_one(db).await
    }

    /// Commits when all changes were made. Otherwise, or when the commit fails, nothing of the
    /// transaction remains.
    pub(super) async fn end(&mut self, made: Result<(), Error>) -> Result<(), StoreError> {
        let db = self.db.as_mut().expect("a transaction has begun on it");
        let ended = match made {
            Ok(()) => sqlx::query("COMMIT").execute(db).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "a transaction failed; its connection is replaced");
            self.close().await;
            return Err(classify("writing", &error));
        }
        Ok(())
    }

    /// Closes the connection, which rolls back what was not committed.
    pub(super) async fn close(&mut self) {
        self.data_version = None;
        if let Some(db) = self.db.take()
            && let Err(error) = db.close().await
        {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}
