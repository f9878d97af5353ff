//! A full disk: everybody is told, nothing is half-written, and work goes on when there is room.

use saga_core::store::{AppendError, Leases, Query, SagaLog, StoreError};
use saga_store::{SqliteOptions, SqliteStore};
use sqlx::ConnectOptions;
use tokio::task::JoinSet;

use crate::driven::{Driven, LONG, card, replay};

/// Small enough to be filled in a moment.
const SIZE_MAX: u64 = 600 * 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_whole_changes_and_resumes_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let unbounded = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let store = SqliteStore::open(SqliteOptions::new(&path).size_max(SIZE_MAX)).await;
    let store = store.expect("the database opens");
    let mut db = unbounded.connect().await.expect("the file opens");
    let fill = "CREATE TABLE filler AS SELECT randomblob(250000) AS bytes";
    sqlx::query(fill).execute(&mut db).await.expect("other data in the file");

    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    let mut filling = JoinSet::new();
    for _ in 0..64 {
        filling.spawn(fill_up(store.clone(), card.id));
    }
    let mut waiting = filling.join_all().await;
    assert_eq!(waiting.len(), 64, "everybody was told");
    assert_sound(&store).await;

    sqlx::query("DROP TABLE filler").execute(&mut db).await.expect("room is made");
    for (driven, append) in &mut waiting {
        if let Some(append) = append.take() {
            assert_eq!(store.append(append).await, Ok(()), "the same append, once there is room");
        }
        while let Some(append) = driven.advance() {
            assert_eq!(store.append(append).await, Ok(()));
        }
    }
    assert_sound(&store).await;
}

/// Runs sagas until the store refuses to take more; tells what was refused, if it was an append.
async fn fill_up(
    store: SqliteStore,
    worker: saga_core::WorkerId,
) -> (Driven, Option<saga_core::store::Append>) {
    loop {
        let (mut driven, new) = Driven::start(worker);
        if let Err(error) = store.start(new.clone()).await {
            assert_full(&error);
            assert_eq!(store.row(driven.id).await, Ok(None), "nothing of it is there");
            // Hands back a saga with nothing left to do.
            while driven.advance().is_some() {}
            return (driven, None);
        }
        while let Some(append) = driven.advance() {
            let Err(error) = store.append(append.clone()).await else { continue };
            let AppendError::Store(error) = error else { panic!("{error}") };
            assert_full(&error);
            let (row, log) = store.load(driven.id).await.expect("a read").expect("the saga");
            assert_eq!((row.seq + 1, log.len() as u64), (append.row.seq, row.seq));
            return (driven, Some(append));
        }
    }
}

fn assert_full(error: &StoreError) {
    let StoreError::Unavailable(why) = error else { panic!("{error}") };
    assert!(why.contains("full: make room"), "{why}");
}

async fn assert_sound(store: &SqliteStore) {
    let query = Query { limit: 500, ..Query::default() };
    for row in store.find(&query).await.expect("a page") {
        let (row, log) = store.load(row.id).await.expect("a read").expect("the saga");
        replay(&row, &log);
    }
}
