//! Stores by their URL.

use std::sync::Arc;

use saga_core::Store;
use saga_core::store::StoreError;

use crate::{OnCommit, PendingMigration, Upgrade};
#[cfg(feature = "postgres")]
use crate::{PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
use crate::{SqliteOptions, SqliteStore};

/// Opens the store that a URL names, and creates or upgrades its schema where needed.
///
/// `sqlite://saga.db` is a file in the current folder, `sqlite:///var/lib/saga/saga.db` one by
/// its full path. `?mode=rw` refuses to create the file; `?mode=rwc`, the default, creates it.
///
/// # Errors
/// [`StoreError::Unusable`] when the URL or the database is not one this release can use, and
/// [`StoreError::Unavailable`] when trying again may help; both say what to do about it.
pub async fn connect(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    connect_with(url, Upgrade::Allowed).await
}

/// As [`connect`], where `upgrade` says whether the schema may be created or changed.
///
/// # Errors
/// As [`connect`], and [`StoreError::Unusable`] when the schema would have to be changed and must
/// not be.
pub async fn connect_with(url: &str, upgrade: Upgrade) -> Result<Arc<dyn Store>, StoreError> {
    open(Named::by(url)?, upgrade, None).await
}

/// As [`connect_with`], and has every commit told, for those who measure.
///
/// # Errors
/// As [`connect_with`].
pub async fn connect_observed(
    url: &str,
    upgrade: Upgrade,
    on_commit: OnCommit,
) -> Result<Arc<dyn Store>, StoreError> {
    open(Named::by(url)?, upgrade, Some(on_commit)).await
}

async fn open(
    named: Named,
    upgrade: Upgrade,
    on_commit: Option<OnCommit>,
) -> Result<Arc<dyn Store>, StoreError> {
    match named {
        #[cfg(feature = "sqlite")]
        Named::Sqlite(options) => {
            let options = options.upgrade(upgrade).on_commit(on_commit);
            Ok(Arc::new(SqliteStore::open(options).await?))
        }
        #[cfg(feature = "postgres")]
        Named::Postgres(options) => {
            let options = options.upgrade(upgrade).on_commit(on_commit);
            Ok(Arc::new(PostgresStore::open(options).await?))
        }
    }
}

/// The migrations that the database of a URL lacks; nothing is changed.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let url = format!("sqlite://{}/saga.db", folder.path().display());
/// assert_eq!(saga_store::pending_migrations(&url).await?[0].name, "saga_log");
/// saga_store::migrate(&url).await?;
/// assert!(saga_store::pending_migrations(&url).await?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`connect`].
pub async fn pending_migrations(url: &str) -> Result<Vec<PendingMigration>, StoreError> {
    match Named::by(url)? {
        #[cfg(feature = "sqlite")]
        Named::Sqlite(options) => options.pending().await,
        #[cfg(feature = "postgres")]
        Named::Postgres(options) => options.pending().await,
    }
}

/// Creates the schema of the database of a URL, or brings it up to date, and answers with what was
/// run. [`connect`] does the same by itself; this is for a role that may change tables, where the
/// one that works with them may not.
///
/// # Errors
/// As [`connect`]; nothing was changed then.
pub async fn migrate(url: &str) -> Result<Vec<PendingMigration>, StoreError> {
    let pending = pending_migrations(url).await?;
    match Named::by(url)? {
        #[cfg(feature = "sqlite")]
        Named::Sqlite(mut options) => options.prepare().await?,
        #[cfg(feature = "postgres")]
        Named::Postgres(options) => options.prepare().await?,
    }
    Ok(pending)
}

/// The database that a URL names.
enum Named {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresOptions>),
}

impl Named {
    fn by(url: &str) -> Result<Self, StoreError> {
        #[cfg(feature = "sqlite")]
        if url.starts_with("sqlite:") {
            return Ok(Self::Sqlite(SqliteOptions::from_url(url)?));
        }
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Ok(Self::Postgres(Box::new(PostgresOptions::from_url(url)?)));
        }
        let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
        let without = match cfg!(feature = "postgres") {
            true => "",
            false => ", for which saga-store needs its feature `postgres`",
        };
        Err(StoreError::Unusable(format!(
            "the URL of the store begins with {scheme:?}: expected sqlite://path/to/saga.db, or postgres://user@host/database{without}"
        )))
    }
}
