//! Durable stores of the Saga engine.
//!
//! [`connect`] opens the store that a URL names. `SqliteStore` is a database in a single file,
//! with nothing to install and nothing to administer; several processes on one machine may share
//! it. With the feature `postgres` there is `PostgresStore`, for workers on many machines.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sqlite://{}/saga.db", folder.path().display());
//! let store = saga_store::connect(&url).await?; // such as "sqlite://saga.db"
//! assert!(store.counts().await?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;

use saga_core::Store;
use saga_core::store::StoreError;

#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};

/// Opens the store that a URL names, and creates or upgrades its schema where needed.
///
/// `sqlite://saga.db` is a file in the current folder, `sqlite:///var/lib/saga/saga.db` one by
/// its full path. `?mode=rw` refuses to create the file; `?mode=rwc`, the default, creates it.
///
/// # Errors
/// [`StoreError::Unusable`] when the URL or the database is not one this release can use, and
/// [`StoreError::Unavailable`] when trying again may help; both say what to do about it.
pub async fn connect(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    #[cfg(feature = "sqlite")]
    if url.starts_with("sqlite:") {
        return Ok(Arc::new(SqliteStore::open(SqliteOptions::from_url(url)?).await?));
    }
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Ok(Arc::new(PostgresStore::open(PostgresOptions::from_url(url)?).await?));
    }
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    Err(StoreError::Unusable(format!(
        "the URL of the store begins with {scheme:?}: expected sqlite://path/to/saga.db, or postgres://user@host/database with the feature `postgres` of saga-store"
    )))
}
