//! The order of the feed where transactions commit in another order than they began.

use std::time::Duration;

use saga_core::SagaId;
use saga_core::store::{Cursor, Feed, FeedEdge, FeedError, FeedPage, Leases, SagaLog};
use saga_store::{PostgresOptions, PostgresStore};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};
use tokio::time::{sleep, timeout};

use super::super::{Fresh, fresh};
use super::driven::{Driven, LONG, card};

/// Longest time until what is committed is certain to be the next.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions::from_url(url).expect("the fixture's URL");
    PostgresStore::open(options).await.expect("the database opens")
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("the fixture's URL");
    options.connect().await.expect("a connection")
}

async fn oldest(store: &PostgresStore) -> Cursor {
    store.feed_edge(FeedEdge::Oldest).await.expect("an edge")
}

fn sagas(page: &FeedPage) -> Vec<SagaId> {
    page.entries.iter().map(|entry| entry.id).collect()
}

/// The first page on which there are so many transitions.
async fn page(store: &PostgresStore, after: Cursor, count: usize) -> FeedPage {
    let reading = async {
        loop {
            let page = store.feed(after, 1_000).await.expect("a page");
            if page.entries.len() >= count {
                return page;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reading).await.expect("the feed shows what is committed")
}

#[tokio::test]
async fn what_commits_late_comes_first_when_its_transaction_began_first() {
    let Fresh(url) = fresh();
    let (store, mut db) = (open(&url).await, connect(&url).await);
    let worker = card();
    store.enlist(&worker, LONG).await.expect("a lease");
    let begin = oldest(&store).await;

    let mut early = db.begin().await.expect("a transaction");
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *early).await.expect("a number");
    let (second, new) = Driven::start(worker.id);
    store.start(new).await.expect("a start that commits at once");
    let held = store.feed(begin, 10).await.expect("a page");
    assert_eq!(sagas(&held), [], "something may still come before it");
    assert!(!held.lag.is_zero() && !held.more);

    let (first, new) = Driven::start(worker.id);
    store.start_in(&mut early, &new).await.expect("a start");
    let held = store.feed(held.cursor, 10).await.expect("a page");
    assert_eq!(sagas(&held), []);
    early.commit().await.expect("the late commit");
    // From where a reader stood that had looked in between.
    assert_eq!(sagas(&page(&store, held.cursor, 2).await), [first.id, second.id]);
    assert_eq!(sagas(&page(&store, begin, 2).await), [first.id, second.id]);
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_no_gap() {
    let Fresh(url) = fresh();
    let (store, mut db) = (open(&url).await, connect(&url).await);
    let worker = card();
    store.enlist(&worker, LONG).await.expect("a lease");
    let begin = oldest(&store).await;
    let mut given_up = db.begin().await.expect("a transaction");
    store.start_in(&mut given_up, &Driven::start(worker.id).1).await.expect("a start");
    let (kept, new) = Driven::start(worker.id);
    store.start(new).await.expect("a start");
    given_up.rollback().await.expect("rolled back");
    assert_eq!(sagas(&page(&store, begin, 1).await), [kept.id]);
}

#[tokio::test]
async fn many_sagas_of_one_transaction_are_read_in_pages() {
    let Fresh(url) = fresh();
    let (store, mut db) = (open(&url).await, connect(&url).await);
    let worker = card();
    store.enlist(&worker, LONG).await.expect("a lease");
    let mut cursor = oldest(&store).await;
    let mut together = db.begin().await.expect("a transaction");
    let mut wanted = Vec::new();
    for _ in 0..25 {
        let (driven, new) = Driven::start(worker.id);
        store.start_in(&mut together, &new).await.expect("a start");
        wanted.push(driven.id);
    }
    together.commit().await.expect("a commit");
    page(&store, cursor, 25).await;
    let mut found = Vec::new();
    loop {
        let page = store.feed(cursor, 4).await.expect("a page");
        found.extend(sagas(&page));
        cursor = page.cursor;
        if !page.more {
            break;
        }
    }
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_database_from_a_server_that_had_counted_further_goes_on_behind_what_it_holds() {
    let Fresh(url) = fresh();
    let worker = card();
    let (old, new) = Driven::start(worker.id);
    let store = open(&url).await;
    store.enlist(&worker, LONG).await.expect("a lease");
    store.start(new).await.expect("a start");
    let begin = oldest(&store).await;
    page(&store, begin, 1).await;
    // As its rows would be after a dump was restored on a server that is younger.
    let mut db = connect(&url).await;
    let moved = sqlx::query("UPDATE saga_log SET xid = xid + 1000000").execute(&mut db).await;
    assert_eq!(moved.expect("restored").rows_affected(), 1);

    let restored = open(&url).await;
    let (young, new) = Driven::start(worker.id);
    restored.start(new).await.expect("a start");
    for store in [&restored, &store] {
        assert_eq!(sagas(&page(store, begin, 2).await), [old.id, young.id]);
    }
    let newest = restored.feed_edge(FeedEdge::Newest).await.expect("an edge");
    assert!(newest.turn >= 1_000_000);
}

#[tokio::test]
async fn a_cursor_of_another_database_of_the_same_server_is_foreign() {
    let (Fresh(one), Fresh(other)) = (fresh(), fresh());
    let (one, other) = (open(&one).await, open(&other).await);
    for cursor in [oldest(&one).await, one.feed_edge(FeedEdge::Newest).await.expect("an edge")] {
        assert_eq!(other.feed(cursor, 10).await, Err(FeedError::Foreign));
    }
}

#[tokio::test]
async fn rows_of_the_previous_release_are_in_the_feed_and_rows_from_before_the_upgrade_are_not() {
    let Fresh(url) = fresh();
    let (store, mut db) = (open(&url).await, connect(&url).await);
    let worker = card();
    store.enlist(&worker, LONG).await.expect("a lease");
    let (before, new) = Driven::start(worker.id);
    store.start(new).await.expect("a start");
    let (previous, new) = Driven::start(worker.id);
    store.start(new).await.expect("a start");
    let hex =
        |id: SagaId| -> String { id.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect() };
    for (change, id) in [("xid = 0", before.id), ("status = NULL", previous.id)] {
        let sql = format!("UPDATE saga_log SET {change} WHERE saga_id = '\\x{}'", hex(id));
        sqlx::query(AssertSqlSafe(sql)).execute(&mut db).await.expect("as it was");
    }
    let shown = page(&store, oldest(&store).await, 1).await;
    assert_eq!(sagas(&shown), [previous.id]);
    assert_eq!(shown.entries[0].status, saga_core::Status::Running);
}
