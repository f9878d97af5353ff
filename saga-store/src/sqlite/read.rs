//! Reads: a few connections that cannot write, beside the writer's.

use saga_core::store::StoreError;
use sqlx::SqlitePool;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqlitePoolOptions};

use super::failure::classify;

/// Most reads at the same time; further ones wait their turn.
const READERS_MAX: u32 = 4;

/// The connections that read. Each statement, or transaction of several, sees one snapshot.
#[derive(Clone, Debug)]
pub(super) struct Reader(SqlitePool);

impl Reader {
    /// Opens connections as they are needed.
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        let pool = SqlitePoolOptions::new().max_connections(READERS_MAX).test_before_acquire(false);
        Self(pool.connect_lazy_with(options))
    }

    /// Does a piece of reading in a task of its own, which the caller merely awaits: a caller
    /// that goes away must not leave a connection in the middle of an answer.
    pub(super) async fn read<T, F>(
        &self,
        work: impl FnOnce(PoolConnection<Sqlite>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let pool = self.0.clone();
        let task = tokio::spawn(async move {
            let connection = pool.acquire().await;
            work(connection.map_err(|error| classify("opening the database to read", &error))?)
                .await
        });
        task.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable(format!("a read was broken off: {error}")))
        })
    }
}
