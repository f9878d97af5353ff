//! Databases that cannot be used, and what is said about them.

use std::path::Path;

use saga_core::store::StoreError;
use saga_store::{SqliteOptions, SqliteStore, Upgrade};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};
use tempfile::TempDir;

/// What is said about a database that cannot be used.
async fn refusal(options: impl Into<SqliteOptions>) -> String {
    match SqliteStore::open(options).await {
        Err(StoreError::Unusable(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn tamper(path: &Path, sql: &str) {
    let mut db = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await
        .expect("the file opens");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut db).await.expect(sql);
}

fn assert_says(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "{why:?} should say {part:?}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = TempDir::new().expect("a temporary folder");
    let why = refusal(folder.path().join("missing/saga.db")).await;
    assert_says(&why, &["there is no folder", "missing", "create it first"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_looked_at_is_told_from_one_that_is_missing() {
    let folder = TempDir::new().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "no folder").expect("a file is written");
    let why = refusal(folder.path().join("file/below/saga.db")).await;
    assert_says(&why, &["file/below cannot be used", "a folder that this user may read and write"]);
    assert_says(&refusal(folder.path().join("file/saga.db")).await, &["file is no folder"]);
}

#[tokio::test]
async fn a_folder_is_no_database() {
    let folder = TempDir::new().expect("a temporary folder");
    assert_says(&refusal(folder.path()).await, &["is a folder", "name a file in it"]);
}

#[tokio::test]
async fn a_missing_file_is_not_created_when_that_was_ruled_out() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let why = refusal(SqliteOptions::new(&path).create(false)).await;
    assert_says(&why, &["there is no database", "mode=rw"]);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let text = "dear diary, ".repeat(100);
    std::fs::write(&path, &text).expect("a file");
    assert_says(&refusal(&path).await, &["saga.db", "not a SQLite database"]);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);
}

#[tokio::test]
async fn tables_of_something_else_are_left_alone() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    tamper(&path, "CREATE TABLE saga (hero TEXT, dragon TEXT)").await;
    assert_says(&refusal(&path).await, &["saga.db", "not the ones this release works with"]);
    tamper(&path, "INSERT INTO saga VALUES ('Sigurd', 'Fafnir')").await;
}

#[tokio::test]
async fn a_database_may_hold_tables_of_its_own_beside_the_sagas() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("shop.db");
    tamper(&path, "CREATE TABLE orders (id TEXT); CREATE TABLE _sqlx_migrations (id TEXT)").await;
    SqliteStore::open(&path).await.expect("the store moves in");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    drop(SqliteStore::open(&path).await.expect("a database"));
    tamper(
        &path,
        "INSERT INTO saga_migration (version, description, success, checksum, execution_time)
         VALUES (9999, 'of the future', 1, x'00', 0)",
    )
    .await;
    let why = refusal(&path).await;
    assert_says(&why, &["schema 9999", "schemas up to ", "use the newer release"]);
}

#[tokio::test]
async fn a_schema_that_was_edited_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    drop(SqliteStore::open(&path).await.expect("a database"));
    tamper(&path, "UPDATE saga_migration SET checksum = x'00'").await;
    assert_says(&refusal(&path).await, &["migration 1", "use the release that wrote it"]);
}

#[tokio::test]
async fn a_database_of_another_number_of_buckets_is_refused() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    drop(SqliteStore::open(&path).await.expect("a database"));
    tamper(&path, "UPDATE saga_meta SET value = 16").await;
    assert_says(&refusal(&path).await, &["16 buckets", "works with 1"]);
}

#[tokio::test]
async fn urls_that_name_no_file_are_explained() {
    for (url, parts) in [
        ("mysql://host/db", ["\"mysql\"", "sqlite://path/to/saga.db"]),
        ("saga.db", ["\"saga.db\"", "sqlite://path/to/saga.db"]),
        ("sqlite://", ["names no file", "sqlite://path/to/saga.db"]),
        ("sqlite::memory:", ["in memory", "MemoryStore"]),
        ("sqlite://saga.db?mode=ro", ["unknown parameter", "?mode=rw"]),
    ] {
        let error = saga_store::connect(url).await.map(drop).expect_err(url);
        assert_says(&error.to_string(), &parts);
    }
}

#[tokio::test]
async fn urls_name_files_by_relative_and_full_paths() {
    let folder = TempDir::new().expect("a temporary folder");
    let full = folder.path().join("full.db");
    let url = format!("sqlite://{}", full.display());
    let error = saga_store::connect(&format!("{url}?mode=rw")).await.map(drop);
    assert!(matches!(error, Err(StoreError::Unusable(_))), "{error:?}");
    saga_store::connect(&url).await.expect("a database");
    saga_store::connect(&format!("sqlite:{}?mode=rw", full.display())).await.expect("the same");
    assert!(full.exists());
}

#[tokio::test]
async fn a_schema_that_may_not_be_changed_is_refused_until_somebody_else_has_migrated_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let url = format!("sqlite://{}", path.display());
    let as_is = || SqliteOptions::new(&path).upgrade(Upgrade::Refused);
    let why = refusal(as_is()).await;
    assert_says(&why, &["saga.db lacks 0001_saga_log", "saga-worker migrate"]);
    assert!(!path.exists(), "nothing was created");
    let pending = saga_store::pending_migrations(&url).await.expect("a good URL");
    assert!(!path.exists(), "nor by the question");
    assert_eq!(saga_store::migrate(&url).await.expect("it may"), pending);
    SqliteStore::open(as_is()).await.expect("it has its schema");
    assert_eq!(saga_store::pending_migrations(&url).await.expect("a good URL"), []);

    // As an older release left it.
    let last = pending.last().expect("there are some").version;
    tamper(&path, &format!("DELETE FROM saga_migration WHERE version = {last}")).await;
    assert_says(&refusal(as_is()).await, &[&format!("lacks {last:04}_")]);
    tamper(&path, "UPDATE saga_migration SET version = 9999 WHERE version = 1").await;
    assert_says(&refusal(as_is()).await, &["schema 9999", "use the newer release"]);
}
