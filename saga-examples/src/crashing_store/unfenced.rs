//! The planted bug of a store without a fence: it appends at the end of the log, whoever asks.

use std::sync::Arc;

use saga_core::store::{Append, Store, StoreError};
use saga_core::{LogHead, LogRow};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{PgPool, SqlitePool};
use tokio::sync::OnceCell;

use crate::database::Address;

/// Both databases understand these words.
const APPEND_ROW: &str = "INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest) \
                          VALUES ($1, $2, $3, $4, $5, $6, $7)";
const WRITE_STATE: &str = "UPDATE saga SET seq = $3, status = $4, next_wake_at = $5, ended_at = $6, \
                           owner = CASE WHEN $7 = 1 THEN NULL ELSE owner END \
                           WHERE bucket = $1 AND id = $2";

/// Appends without a fence.
#[derive(Clone)]
pub(super) struct Unfenced {
    inner: Arc<dyn Store>,
    address: Address,
    pool: Arc<OnceCell<Pool>>,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Unfenced {
    pub(super) fn new(inner: Arc<dyn Store>, address: Address) -> Self {
        Unfenced { inner, address, pool: Arc::default() }
    }

    /// Seals what was refused again, under its own old epoch, as the next row of the log.
    pub(super) async fn append(&self, append: Append) -> Result<(), StoreError> {
        let Some((_, log)) = self.inner.load(append.id).await? else { return Ok(()) };
        if log.iter().any(|row| row.digest == append.row.digest) {
            return Ok(());
        }
        let head = log.last().map(LogRow::head).unwrap_or_default();
        let refused =
            append.row.decode().map_err(|fault| StoreError::Corrupt(fault.to_string()))?;
        let row = LogHead::seal(head, refused.epoch, refused.at, &refused.events);
        self.force(&append, &row).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn force(&self, append: &Append, row: &LogRow) -> Result<(), sqlx::Error> {
        // The two databases differ in the types of what is bound, not in what is said.
        macro_rules! force {
            ($pool:expr) => {{
                let mut tx = $pool.begin().await?;
                let (bucket, id) = (append.id.bucket().number(), append.id.to_bytes().to_vec());
                sqlx::query(APPEND_ROW)
                    .bind(bucket)
                    .bind(id.clone())
                    .bind(row.seq as i64)
                    .bind(row.epoch as i64)
                    .bind(row.at.as_micros())
                    .bind(row.body.clone())
                    .bind(row.digest.as_bytes().to_vec())
                    .execute(&mut *tx)
                    .await?;
                let summary = &append.summary;
                let free = append.release || summary.ended_at.is_some();
                sqlx::query(WRITE_STATE)
                    .bind(bucket)
                    .bind(id)
                    .bind(row.seq as i64)
                    .bind(summary.status.as_str())
                    .bind(summary.next_wake_at.map(|at| at.as_micros()))
                    .bind(summary.ended_at.map(|at| at.as_micros()))
                    .bind(i64::from(free))
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await
            }};
        }
        match self.pool.get_or_try_init(|| self.connect()).await? {
            Pool::Sqlite(pool) => force!(pool),
            Pool::Postgres(pool) => force!(pool),
        }
    }

    async fn connect(&self) -> Result<Pool, sqlx::Error> {
        Ok(match &self.address {
            Address::Sqlite(path) => Pool::Sqlite(
                SqlitePoolOptions::new()
                    .max_connections(1)
                    .connect_with(SqliteConnectOptions::new().filename(path))
                    .await?,
            ),
            Address::Postgres(options) => Pool::Postgres(
                PgPoolOptions::new().max_connections(1).connect_with((**options).clone()).await?,
            ),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
mod tests {
    use saga_core::store::{NewSaga, Summary};
    use saga_core::{
        Bucket, Definition, Digest, Event, Payload, Saga, SagaId, StartRequest, Status, Step,
        Timestamp, WorkerId,
    };

    use super::*;
    use crate::database;

    fn summary() -> Summary {
        Summary { status: Status::Running, next_wake_at: None, wait: None, ended_at: None }
    }

    async fn stored(store: &Arc<dyn Store>, owner: WorkerId) -> Saga {
        let step = Step::pivot("pay", async || Ok::<(), saga_core::Failure>(()));
        let definition = Definition::new("buy", [step]).unwrap();
        store.publish(definition.spec()).await.unwrap();
        let id = SagaId::new(1, 2, Bucket::of("order-1", store.buckets()));
        let request =
            StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
        let now = Timestamp::from_micros(1);
        let (mut saga, events) = Saga::start(id, definition.spec().clone(), now, request);
        let new = NewSaga {
            id,
            definition: definition.spec().reference(),
            key: None,
            input_digest: Digest::of(&[b"null"]),
            first: saga.seal(0, now, &events),
            summary: summary(),
            owner: Some(owner),
        };
        store.start(new).await.unwrap();
        saga
    }

    #[tokio::test]
    async fn what_the_fence_refuses_lands_at_the_end_of_the_log_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Sqlite(folder.path().join("sagas.db"));
        let store = database::open_sagas(&address).await.unwrap();
        let mut saga = stored(&store, WorkerId::from_bytes([1; 16])).await;
        let row = saga.seal(0, Timestamp::from_micros(2), &[Event::WorkerLost]);
        let stranger = WorkerId::from_bytes([2; 16]);
        let append =
            Append { id: saga.id(), owner: stranger, row, summary: summary(), release: false };
        assert!(store.append(append.clone()).await.is_err());
        Unfenced::new(store.clone(), address).append(append).await.unwrap();
        assert_eq!(store.log(saga.id(), 0, 10).await.unwrap().len(), 2);
    }
}
