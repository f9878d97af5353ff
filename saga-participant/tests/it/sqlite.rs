//! Where the barrier's SQLite files are, and what only SQLite does.

use std::time::Duration;

use saga_participant::{Barrier, BarrierError, Problem};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};
use tempfile::TempDir;

use crate::shop::{Shop, act, home};

home!(Sqlite, TempDir, "BEGIN IMMEDIATE", || tempfile::tempdir().unwrap(), pool);

async fn pool(folder: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("shop.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap()
}

#[tokio::test]
async fn a_database_that_stays_locked_is_answered_with_not_yet() {
    let shop = Shop::<Sqlite>::open().await;
    let impatient = shop.barrier.pool().connect_options().as_ref().clone();
    let impatient = SqlitePool::connect_with(impatient.busy_timeout(Duration::ZERO)).await.unwrap();
    let _lock = shop.barrier.pool().begin_with("BEGIN IMMEDIATE").await.unwrap();
    let busy = act(&Barrier::new(impatient), "s").await.unwrap_err();
    assert!(matches!(busy, BarrierError::Unavailable(_)), "{busy:?}");
    assert_eq!(Problem::from(busy).status, Some(503));
}
