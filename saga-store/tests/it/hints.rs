//! Hints that there may be something to claim.

use std::path::Path;
use std::time::Duration;

use saga_core::store::{Leases, SagaLog};
use saga_store::SqliteStore;

use crate::driven::{Driven, LONG, PAST, card};

/// By when a hint must have come, on a machine however busy.
const SOON: Duration = Duration::from_secs(20);

async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder.join("saga.db")).await.expect("a database")
}

async fn hinted(store: &SqliteStore) {
    tokio::time::timeout(SOON, store.hinted()).await.expect("a hint");
}

#[tokio::test]
async fn a_release_in_this_process_is_a_hint_even_to_those_who_come_later() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    let (driven, new) = Driven::start(card.id);
    store.start(new).await.expect("a start");
    store.release(driven.id, card.id, 1, Some(PAST)).await.expect("a release");
    hinted(&store).await;
}

#[tokio::test]
async fn all_who_wait_are_given_the_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let (_, new) = Driven::start(card().id);
    let waiting = async { tokio::join!(hinted(&store), hinted(&store), hinted(&store)) };
    let start = async { store.start(saga_core::store::NewSaga { owner: None, ..new }).await };
    let (_, started) = tokio::join!(waiting, start);
    started.expect("a start");
}

#[tokio::test]
async fn a_write_of_another_process_is_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (open(folder.path()).await, open(folder.path()).await);
    for _ in 0..3 {
        let (_, new) = Driven::start(card().id);
        let (started, ()) = tokio::join!(theirs.start(new), hinted(&ours));
        started.expect("a start");
    }
}

#[tokio::test]
async fn a_write_of_another_process_is_not_hidden_by_one_of_ours() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, theirs) = (open(folder.path()).await, open(folder.path()).await);
    let card = card();
    for _ in 0..3 {
        ours.enlist(&card, LONG).await.expect("a lease");
        theirs.start(Driven::start(card.id).1).await.expect("a start");
        ours.renew(card.id, LONG).await.expect("a renewal");
        hinted(&ours).await;
    }
}

#[tokio::test]
async fn writes_that_make_nothing_due_are_no_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    let (mut driven, new) = Driven::start(card.id);
    store.start(new).await.expect("a start");
    let work = async {
        while let Some(append) = driven.advance() {
            store.append(append).await.expect("an append");
            // Time for a look at the file in between.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    tokio::select! {
        biased;
        () = store.hinted() => panic!("a hint for nothing"),
        () = work => {}
    }
}
