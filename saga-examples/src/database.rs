//! Where a service keeps its books: a SQLite file of its own, or in PostgreSQL a schema of its own,
//! named after the service, so that all services may be given the same database.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use saga_core::Store;
use saga_core::store::StoreError;
use saga_participant::BarrierError;
use saga_store::{PostgresStore, SqliteStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, SqlitePool};

use crate::orders::Beside;
use crate::service::ServiceError;

/// For readers: calls are written by the connection of the barrier.
const SQLITE_CONNECTIONS_MAX: u32 = 4;
/// How long a statement waits while another process writes.
const SQLITE_BUSY_MAX: Duration = Duration::from_secs(10);

/// How long the row of an order waits for its turn: less than whoever placed it does.
const BESIDE_BUSY_MAX: Duration = Duration::from_secs(4);

/// Few enough for all services and some workers to share a server with its usual 100 connections.
const POSTGRES_CONNECTIONS_MAX: u32 = 6;

/// The address of a database, as flags name it: a path, or a URL that begins with `sqlite://` or
/// `postgres://`.
#[derive(Clone)]
pub enum Address {
    /// The path of a SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server and a database there.
    Postgres(Box<PgConnectOptions>),
}

/// A text that is no address of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; expected the path of a SQLite file, sqlite://PATH or postgres://USER@HOST/DATABASE")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    // No message repeats a URL, which may hold a password.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once("://") {
            None if text.is_empty() => Err(AddressError("the address is empty".to_owned())),
            None => Ok(Address::Sqlite(text.into())),
            Some(("sqlite", path)) => Ok(Address::Sqlite(path.into())),
            Some(("postgres" | "postgresql", _)) => match text.parse() {
                Ok(options) => Ok(Address::Postgres(Box::new(options))),
                Err(error) => Err(AddressError(format!("the PostgreSQL URL is none: {error}"))),
            },
            Some((scheme, _)) => Err(AddressError(format!("there is no database `{scheme}` here"))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Sqlite(path) => path.display().fmt(f),
            Address::Postgres(options) => {
                let database = options.get_database().unwrap_or(options.get_username());
                write!(f, "postgres://{}:{}/{database}", options.get_host(), options.get_port())
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The open database of a service.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLite file.
    Sqlite(SqlitePool),
    /// A schema in PostgreSQL.
    Postgres(PgPool),
}

impl Database {
    /// Opens the database of the service `service`, durable at every commit. A file that is missing
    /// is created; a PostgreSQL database has to exist, the schema in it need not.
    ///
    /// # Errors
    /// [`ServiceError::OpenDatabase`].
    pub async fn open(address: &Address, service: &'static str) -> Result<Self, ServiceError> {
        let opened = match address {
            Address::Sqlite(path) => open_sqlite(path).await.map(Database::Sqlite),
            Address::Postgres(options) => {
                open_postgres(options, service).await.map(Database::Postgres)
            }
        };
        opened.map_err(|source| ServiceError::OpenDatabase { address: address.clone(), source })
    }
}

async fn open_sqlite(path: &PathBuf) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_MAX);
    SqlitePoolOptions::new().max_connections(SQLITE_CONNECTIONS_MAX).connect_with(options).await
}

/// A connection of rusqlite to the file of a pool, for the barrier that shares commits.
///
/// # Errors
/// [`ServiceError::PrepareBarrier`].
pub fn connect_to_write(pool: &SqlitePool) -> Result<rusqlite::Connection, ServiceError> {
    let options = pool.connect_options();
    let connect = || {
        let db = rusqlite::Connection::open(options.get_filename())?;
        db.busy_timeout(SQLITE_BUSY_MAX)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        Ok(db)
    };
    connect().map_err(|error: rusqlite::Error| BarrierError::Unavailable(error.into()).into())
}

async fn open_postgres(
    options: &PgConnectOptions,
    service: &'static str,
) -> Result<PgPool, sqlx::Error> {
    let options = options
        .clone()
        .application_name(service)
        .options([("search_path", service), ("synchronous_commit", "on")]);
    // Without the lock, two processes that meet a new database would both create the schema.
    let create = format!(
        "SELECT pg_advisory_xact_lock(hashtext('{service}')); \
         CREATE SCHEMA IF NOT EXISTS {service}"
    );
    // Not through the pool, which would keep the reason of a failure to itself.
    let mut connection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        .acquire_timeout(Duration::from_secs(10))
        // The barrier replaces broken connections; the pool's own test waits on silent ones.
        .test_before_acquire(false)
        .connect_lazy_with(options))
}

/// Opens the store of the sagas at an address, and creates its tables where they are missing.
///
/// # Errors
/// When the store cannot be opened; the message says what to do.
pub async fn open_sagas(address: &Address) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Sagas::open(address).await?.store(address))
}

/// The database of the sagas, of either kind, for whoever writes there beside them.
#[derive(Debug, Clone)]
pub enum Sagas {
    /// A SQLite file.
    Sqlite(SqliteStore),
    /// A PostgreSQL database.
    Postgres(PostgresStore),
}

impl Sagas {
    /// As [`open_sagas`].
    ///
    /// # Errors
    /// As [`open_sagas`].
    pub async fn open(address: &Address) -> Result<Self, StoreError> {
        Ok(match address {
            Address::Sqlite(path) => Sagas::Sqlite(SqliteStore::open(path.clone()).await?),
            Address::Postgres(options) => {
                Sagas::Postgres(PostgresStore::open((**options).clone().into()).await?)
            }
        })
    }

    /// The store, which was opened at `address`, for clients and workers.
    #[must_use]
    pub fn store(&self, address: &Address) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = match self {
            Sagas::Sqlite(store) => Arc::new(store.clone()),
            Sagas::Postgres(store) => Arc::new(store.clone()),
        };
        #[cfg(feature = "crash-points")]
        let store = Arc::new(crate::crashing_store::CrashingStore::new(store, address.clone()));
        #[cfg(not(feature = "crash-points"))]
        let _ = address;
        store
    }

    /// Rows of orders beside the sagas, which are at `address`.
    ///
    /// # Errors
    /// [`ServiceError::OpenDatabase`], [`ServiceError::PrepareDatabase`].
    pub async fn beside(&self, address: &Address) -> Result<Beside, ServiceError> {
        let cannot = |source| ServiceError::OpenDatabase { address: address.clone(), source };
        let beside = match (self, address) {
            (Sagas::Sqlite(store), Address::Sqlite(path)) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BESIDE_BUSY_MAX);
                let pool = SqlitePoolOptions::new().max_connections(SQLITE_CONNECTIONS_MAX);
                let pool = pool.connect_with(options).await.map_err(cannot)?;
                Beside::sqlite(pool, store.clone()).await
            }
            (Sagas::Postgres(store), Address::Postgres(options)) => {
                let pool = PgPoolOptions::new()
                    .max_connections(POSTGRES_CONNECTIONS_MAX)
                    .acquire_timeout(BESIDE_BUSY_MAX)
                    // Its test waits on silent connections; what fails takes its connection with it.
                    .test_before_acquire(false)
                    .connect_lazy_with((**options).clone());
                Beside::postgres(pool, store.clone()).await
            }
            (Sagas::Sqlite(_), Address::Postgres(_)) | (Sagas::Postgres(_), Address::Sqlite(_)) => {
                let other = "the sagas were opened at an address of another kind";
                return Err(cannot(sqlx::Error::Configuration(other.into())));
            }
        };
        Ok(beside?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_or_without_its_scheme_is_a_file() {
        for text in ["books/orders.db", "sqlite://books/orders.db"] {
            let Ok(Address::Sqlite(path)) = text.parse() else { panic!("{text} is a path") };
            assert_eq!(path, PathBuf::from("books/orders.db"));
        }
    }

    #[test]
    fn a_postgres_url_is_shown_without_its_password() {
        let address: Address = "postgres://shop:secret@db.example:5433/books".parse().unwrap();
        assert_eq!(address.to_string(), "postgres://db.example:5433/books");
        assert_eq!(format!("{address:?}"), "postgres://db.example:5433/books");
    }

    #[test]
    fn what_is_no_address_says_what_is_expected_and_no_password() {
        for text in ["", "mysql://shop:secret@db/books", "postgres://shop:secret@db:port/books"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("expected") && !error.contains("secret"), "{error}");
        }
    }
}
