//! Durable stores of the Saga engine.
//!
//! [`connect`] opens the store that a URL names. `SqliteStore` is a database in a single file,
//! with nothing to install and nothing to administer; several processes on one machine may share
//! it. With the feature `postgres` there is `PostgresStore`, for workers on many machines. Without
//! either feature there is nothing here.
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

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod commits;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod connect;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrations;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use commits::{Commit, OnCommit};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use connect::{connect, connect_observed, connect_with, migrate, pending_migrations};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use migrations::{PendingMigration, Upgrade};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteStore};
