//! The feed of a SQLite file that is vacuumed, put back, or damaged.

use std::path::Path;

use saga_core::SagaId;
use saga_core::store::{Cursor, Feed, FeedEdge, FeedError, Leases, SagaLog};
use saga_store::SqliteStore;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::driven::{Driven, LONG, card};

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.expect("a database")
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.connect().await.expect("the file opens")
}

/// Starts a saga.
async fn start(store: &SqliteStore) -> SagaId {
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    let (driven, new) = Driven::start(card.id);
    store.start(new).await.expect("a start");
    driven.id
}

async fn sagas(store: &SqliteStore, after: Cursor) -> Vec<SagaId> {
    let page = store.feed(after, 100).await.expect("a page");
    page.entries.iter().map(|entry| entry.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_survives_that_rows_leave_and_the_file_is_vacuumed() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let store = open(&path).await;
    let oldest = store.feed_edge(FeedEdge::Oldest).await.expect("an edge");
    let first = start(&store).await;
    let second = start(&store).await;
    let page = store.feed(oldest, 100).await.expect("a page");
    let behind_first = Cursor { catching_up: false, ..page.entries[0].cursor };
    let third = start(&store).await;
    let mut db = connect(&path).await;
    // Without the hole the numbers would have no reason to change.
    let hex: String = first.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for table in ["saga_log WHERE saga_id", "saga WHERE id"] {
        let sql = AssertSqlSafe(format!("DELETE FROM {table} = x'{hex}'"));
        sqlx::query(sql).execute(&mut db).await.expect("gone");
    }
    sqlx::query("VACUUM").execute(&mut db).await.expect("vacuumed");
    drop(store);
    let store = open(&path).await;
    assert_eq!(sagas(&store, page.cursor).await, [third]);
    assert_eq!(sagas(&store, behind_first).await, [second, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_what_was_lost_when_a_copy_was_put_back_is_foreign() {
    let folder = TempDir::new().expect("a temporary folder");
    let (path, copy) = (folder.path().join("saga.db"), folder.path().join("copy.db"));
    let store = open(&path).await;
    let oldest = store.feed_edge(FeedEdge::Oldest).await.expect("an edge");
    start(&store).await;
    let known = store.feed(oldest, 100).await.expect("a page").entries[0].cursor;
    let mut db = connect(&path).await;
    let into = AssertSqlSafe(format!("VACUUM INTO '{}'", copy.display()));
    sqlx::query(into).execute(&mut db).await.expect("a copy");
    start(&store).await;
    let lost = store.feed(oldest, 100).await.expect("a page").entries[1].cursor;

    let back = open(&copy).await;
    assert_eq!(back.feed(lost, 100).await, Err(FeedError::Foreign), "nothing stands there yet");
    let other = start(&back).await;
    assert_eq!(back.feed(lost, 100).await, Err(FeedError::Foreign), "something else stands there");
    assert_eq!(sagas(&back, known).await, [other], "what the copy holds is as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_does_not_keep_readers_from_what_follows() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let store = open(&path).await;
    let oldest = store.feed_edge(FeedEdge::Oldest).await.expect("an edge");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(start(&store).await);
    }
    let mut db = connect(&path).await;
    for damage in [
        "UPDATE saga_log SET digest = x'01' WHERE position = 1",
        "UPDATE saga_log SET status = 'nonsense' WHERE position = 2",
        "UPDATE saga_log SET saga_id = x'01', bucket = 9 WHERE position = 3",
        "UPDATE saga_log SET body = CAST(x'ff' AS TEXT) WHERE position = 4",
    ] {
        sqlx::query(damage).execute(&mut db).await.expect("damaged");
    }
    // The row with a body that is no text is shown as what it is, for its reader to judge.
    assert_eq!(sagas(&store, oldest).await, ids[3..]);
    for limit in 1..4 {
        let (mut cursor, mut seen) = (oldest, Vec::new());
        loop {
            let page = store.feed(cursor, limit).await.expect("a page");
            seen.extend(page.entries.iter().map(|entry| entry.id));
            cursor = page.cursor;
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, ids[3..], "in pages of {limit}");
    }
}
