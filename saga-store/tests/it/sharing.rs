//! Several processes on one file.

use saga_core::store::{Leases, SagaLog, StoreError};
use saga_store::SqliteStore;
use sqlx::{ConnectOptions, Connection};
use tokio::task::JoinSet;

use crate::driven::{Driven, LONG, card};

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_and_migrate_a_new_file_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("saga.db");
        let mut opening = JoinSet::new();
        for _ in 0..12 {
            let path = path.clone();
            opening.spawn(async move { SqliteStore::open(path).await.map(drop) });
        }
        for opened in opening.join_all().await {
            assert_eq!(opened, Ok(()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_waits_for_a_lock_that_another_process_holds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let store = SqliteStore::open(&path).await.expect("a database");
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");

    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = options.connect().await.expect("the file opens");
    let lock = other.begin_with("BEGIN IMMEDIATE").await.expect("the lock");
    let (driven, new) = Driven::start(card.id);
    let starting = tokio::spawn({
        let store = store.clone();
        async move { store.start(new).await }
    });
    // Longer than the busy timeout of the connection, so that it is begun afresh.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(!starting.is_finished(), "the writer waits");
    assert_eq!(store.row(driven.id).await, Ok(None), "and readers do not");
    lock.rollback().await.expect("the lock is given back");
    starting.await.expect("no panic").expect("the start goes through");
    assert!(store.row(driven.id).await.expect("a read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_on_one_file_append_side_by_side() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        let path = path.clone();
        processes.spawn(async move {
            let store = SqliteStore::open(&path).await?;
            let card = card();
            store.enlist(&card, LONG).await?;
            for _ in 0..25 {
                let (mut driven, new) = Driven::start(card.id);
                store.start(new).await?;
                while let Some(append) = driven.advance() {
                    store.append(append).await.expect("nobody else owns it");
                }
            }
            Ok::<_, StoreError>(())
        });
    }
    for result in processes.join_all().await {
        assert_eq!(result, Ok(()));
    }
    let store = SqliteStore::open(&path).await.expect("a database");
    assert_eq!(store.counts().await, Ok(vec![(saga_core::Status::Completed, 100)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_writer_does_not_keep_another_process_from_its_heartbeat() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let busy = SqliteStore::open(&path).await.expect("a database");
    let other = SqliteStore::open(&path).await.expect("the same database");
    let (owner, heart) = (card(), card());
    busy.enlist(&owner, LONG).await.expect("a lease");
    other.enlist(&heart, LONG).await.expect("a lease");
    let mut writing = JoinSet::new();
    for _ in 0..8 {
        let (busy, id) = (busy.clone(), owner.id);
        writing.spawn(async move {
            loop {
                let (mut driven, new) = Driven::start(id);
                busy.start(new).await.expect("a start");
                while let Some(append) = driven.advance() {
                    busy.append(append).await.expect("nobody else owns it");
                }
            }
        });
    }
    let mut waits = Vec::new();
    for _ in 0..40 {
        let begun = std::time::Instant::now();
        assert_eq!(other.renew(heart.id, LONG).await, Ok(true));
        waits.push(begun.elapsed());
    }
    writing.abort_all();
    waits.sort_unstable();
    // With waits that double, every other heartbeat took longer than that here.
    assert!(waits[20] < std::time::Duration::from_secs(1), "{waits:?}");
}
