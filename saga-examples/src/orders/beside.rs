//! Rows of orders beside their sagas, in the database of the sagas: a row and its saga appear in one
//! transaction, together or not at all.

use std::time::Duration;

use saga_core::SagaId;
use saga_core::store::{NewSaga, StartOutcome, StoreError};
use saga_store::{PostgresStore, SqliteStore};
use sqlx::{Connection as _, PgPool, Pool, Postgres, Sqlite, SqlitePool};
use tokio::time::timeout;

use crate::faults::{self, Plant};
use crate::order::Order;
use crate::sql::{Home, Schema, Value};

/// How long the transaction may take: a server that went silent would keep it for ever.
const PLACING_MAX: Duration = Duration::from_secs(5);

/// How often nothing follows a saga that started apart from its row.
const APART: f64 = 0.05;

/// Both databases understand these words.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS placed_order \
                     (key TEXT PRIMARY KEY, saga_id TEXT NOT NULL, body TEXT NOT NULL)";
const SCHEMA: Schema = Schema { sqlite: TABLE, postgres: TABLE };
const INSERT: &str = "INSERT INTO placed_order (key, saga_id, body) VALUES ($1, $2, $3) \
                      ON CONFLICT DO NOTHING";
const FIND: &str = "SELECT saga_id, body FROM placed_order WHERE key = $1";

/// Where the rows are.
#[derive(Debug, Clone)]
pub struct Beside(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Sqlite(SqlitePool, SqliteStore),
    Postgres(PgPool, PostgresStore),
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// Its row and this saga are there now.
    Together(SagaId),
    /// The key has a row, and this saga, since before.
    Before {
        /// The saga.
        id: SagaId,
        /// Whether the row is of the same order.
        same: bool,
    },
    /// The key has this saga, and no row; nothing was changed.
    WithoutRow(SagaId),
}

/// An order could not be placed. After a commit that was not answered it may have been: the key tells.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// The database of the rows.
    #[error("the row of the order cannot be written: {0}")]
    Rows(#[from] sqlx::Error),
    /// The same, as the words for both databases say it.
    #[error("the row of the order cannot be written: {0}")]
    Sql(#[from] crate::sql::SqlError),
    /// The store of the sagas.
    #[error(transparent)]
    Sagas(#[from] StoreError),
    /// It took too long.
    #[error("the database did not place the order within {} s", PLACING_MAX.as_secs())]
    Silent,
    /// A row is not what this service writes.
    #[error("the row of an order names the saga `{0}`, which is no id of one")]
    Row(String),
    /// The task died.
    #[error("placing the order broke off: {0}")]
    Died(#[from] tokio::task::JoinError),
}

impl Beside {
    /// Rows in a SQLite file with sagas.
    ///
    /// # Errors
    /// When the table cannot be created.
    pub async fn sqlite(pool: SqlitePool, sagas: SqliteStore) -> Result<Self, sqlx::Error> {
        create(&pool).await?;
        Ok(Beside(Kind::Sqlite(pool, sagas)))
    }

    /// Rows in a PostgreSQL database with sagas.
    ///
    /// # Errors
    /// When the table cannot be created.
    pub async fn postgres(pool: PgPool, sagas: PostgresStore) -> Result<Self, sqlx::Error> {
        create(&pool).await?;
        Ok(Beside(Kind::Postgres(pool, sagas)))
    }

    /// Places an order. It goes on to its end even where the caller stops waiting.
    pub(super) async fn place(
        &self,
        key: &str,
        order: &Order,
        saga: NewSaga,
    ) -> Result<Placed, BesideError> {
        let (kind, key) = (self.0.clone(), key.to_owned());
        let body = serde_json::to_string(order).expect("an order is plain data");
        let placing = async move {
            match kind {
                Kind::Sqlite(pool, store) => {
                    place_in_sqlite(&pool, &store, &key, &body, saga).await
                }
                Kind::Postgres(pool, store) => {
                    place_in_postgres(&pool, &store, &key, &body, saga).await
                }
            }
        };
        tokio::spawn(placing).await?
    }
}

async fn create<DB: Home>(pool: &Pool<DB>) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin_with(DB::BEGIN).await?;
    DB::run(&mut tx, DB::words(SCHEMA)).await?;
    tx.commit().await
}

/// Opens a database's transaction, and commits it when something was placed. One that fails or takes
/// too long takes its connection with it: nobody knows what state that is in.
macro_rules! place_in {
    ($name:ident, $kind:ty, $store:ty) => {
        async fn $name(
            pool: &Pool<$kind>,
            store: &$store,
            key: &str,
            body: &str,
            saga: NewSaga,
        ) -> Result<Placed, BesideError> {
            let mut connection = pool.acquire().await?;
            let work = async {
                if faults::planted(Plant::StartApart) {
                    // The bug: the saga starts in a transaction of its own.
                    let mut apart = connection.begin_with(<$kind>::BEGIN).await?;
                    store.start_in(&mut apart, &saga).await?;
                    apart.commit().await?;
                    if faults::chance(APART) {
                        return Err(BesideError::Silent);
                    }
                }
                let mut tx = connection.begin_with(<$kind>::BEGIN).await?;
                let placed = write_row::<$kind>(&mut tx, key, body, saga.id).await?;
                let placed = match placed {
                    Placed::Together(id) => match store.start_in(&mut tx, &saga).await? {
                        StartOutcome::Created => Placed::Together(id),
                        StartOutcome::Existing { .. } if faults::planted(Plant::StartApart) => {
                            Placed::Together(id)
                        }
                        StartOutcome::Existing { id, .. } => Placed::WithoutRow(id),
                    },
                    before => before,
                };
                if let Placed::Together(_) = placed {
                    faults::crash_here("start_in.before");
                    tx.commit().await?;
                    faults::crash_here("start_in.after");
                } else {
                    tx.rollback().await?;
                }
                Ok(placed)
            };
            let placed = timeout(PLACING_MAX, work).await.unwrap_or(Err(BesideError::Silent));
            if placed.is_err() {
                drop(connection.detach());
            }
            placed
        }
    };
}

place_in!(place_in_sqlite, Sqlite, SqliteStore);
place_in!(place_in_postgres, Postgres, PostgresStore);

/// Writes the row, unless the key has one.
async fn write_row<DB: Home>(
    tx: &mut DB::Tx,
    key: &str,
    body: &str,
    id: SagaId,
) -> Result<Placed, BesideError> {
    let text = id.to_string();
    let values = [Value::Text(key), Value::Text(&text), Value::Text(body)];
    if DB::execute(tx, INSERT, &values).await? == 1 {
        return Ok(Placed::Together(id));
    }
    let (saga, known): (String, String) = DB::fetch_one(tx, FIND, &[Value::Text(key)]).await?;
    let id = saga.parse().map_err(|_| BesideError::Row(saga))?;
    Ok(Placed::Before { id, same: known == body })
}
