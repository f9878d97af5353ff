//! The feed: every transition once, each saga in order, from any place on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::retention::ended_at;
use super::scene::{Draft, PAST, Scene, order, trip};
use crate::store::{Cursor, FeedEdge, FeedEntry, FeedError, FeedPage, Store};
use crate::{IdempotencyKey, SagaId, Status};

/// Longest time until something that is committed is certain to be the next.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the store has a feed. One that has none says so wherever it is asked.
async fn has_feed(scene: &Scene) -> bool {
    let edge = scene.store.feed_edge(FeedEdge::Oldest).await;
    let Err(FeedError::Unsupported(why)) = edge else { return true };
    assert!(!why.is_empty());
    let page = scene.store.feed(Cursor::oldest(1), 1).await;
    assert!(matches!(page, Err(FeedError::Unsupported(_))), "{page:?}");
    false
}

async fn edge(store: &Arc<dyn Store>, edge: FeedEdge) -> Cursor {
    store.feed_edge(edge).await.expect("an edge of the feed")
}

async fn page(store: &Arc<dyn Store>, after: Cursor, limit: u32) -> FeedPage {
    let page = store.feed(after, limit).await.expect("a page of the feed");
    assert!(page.entries.len() <= limit as usize);
    assert!(!page.more || page.entries.len() == limit as usize, "a full page");
    page
}

/// Reads so many transitions in pages of this size, however long it takes until they are certain.
async fn read(
    store: &Arc<dyn Store>,
    after: Cursor,
    count: usize,
    limit: u32,
) -> (Vec<FeedEntry>, Cursor) {
    let reading = async {
        let (mut entries, mut cursor) = (Vec::new(), after);
        loop {
            let page = page(store, cursor, limit).await;
            entries.extend(page.entries);
            // As a client would come back with it.
            cursor = page.cursor.to_string().parse().expect("a cursor survives its text");
            if entries.len() >= count && !page.more {
                return (entries, cursor);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the feed shows what is committed")
}

/// Asserts that entries are in the order of the feed, and each saga in that of its log.
fn assert_ordered(entries: &[FeedEntry]) {
    let mut logs: BTreeMap<SagaId, u64> = BTreeMap::new();
    for entry in entries {
        let before = logs.insert(entry.id, entry.row.seq).unwrap_or(0);
        assert_eq!(entry.row.seq, before + 1, "saga {} in order and without a gap", entry.id);
    }
    for pair in entries.windows(2) {
        let order = pair[0].cursor.compare(&pair[1].cursor);
        assert_eq!(order, Some(std::cmp::Ordering::Less), "{pair:?}");
    }
}

/// Every row of every log.
async fn logged(scene: &Scene) -> BTreeSet<(SagaId, u64)> {
    let mut rows = BTreeSet::new();
    for saga in scene.all().await {
        let log = scene.other.log(saga.id, 0, 1_000).await.expect("a log");
        rows.extend(log.iter().map(|row| (saga.id, row.seq)));
    }
    rows
}

pub(super) async fn the_feed_gives_every_transition_once_while_many_write(scene: Scene) {
    if !has_feed(&scene).await {
        return;
    }
    let start = edge(&scene.store, FeedEdge::Newest).await;
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..32 {
        let worker = scene.worker().await;
        let store = if writer % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        let drafts: Vec<_> = (0..5)
            .map(|_| Draft { owner: Some(worker), wake: None, ..scene.draft(&order(), None) })
            .collect();
        writing.spawn(async move {
            for draft in drafts {
                let (mut driven, new) = draft.build();
                store.start(new).await.expect("a start");
                while !driven.has_ended() {
                    assert_eq!(store.append(driven.advance()).await, Ok(()));
                }
            }
        });
    }
    let reader = tokio::spawn({
        let store = scene.other.clone();
        async move { read(&store, start, 32 * 5 * 5, 7).await.0 }
    });
    writing.join_all().await;
    let entries = reader.await.expect("no panic");
    assert_ordered(&entries);
    let seen: BTreeSet<_> = entries.iter().map(|entry| (entry.id, entry.row.seq)).collect();
    assert_eq!(seen, logged(&scene).await);
}

pub(super) async fn a_reader_may_go_on_from_behind_any_transition(scene: Scene) {
    if !has_feed(&scene).await {
        return;
    }
    let oldest = edge(&scene.store, FeedEdge::Oldest).await;
    for _ in 0..3 {
        ended_at(&scene, None, PAST).await;
    }
    let (all, end) = read(&scene.store, oldest, 15, 100).await;
    assert_ordered(&all);
    assert_eq!(all.len(), 15);
    for (nth, entry) in all.iter().enumerate() {
        let (rest, _) = read(&scene.other, entry.cursor, 14 - nth, 4).await;
        let places = |entries: &[FeedEntry]| -> Vec<_> {
            entries.iter().map(|entry| (entry.id, entry.row.seq)).collect()
        };
        assert_eq!(places(&rest), places(&all[nth + 1..]), "behind number {nth}");
    }
    assert_eq!(page(&scene.other, end, 10).await.entries, []);
    let later = ended_at(&scene, None, PAST).await.id;
    let (rest, _) = read(&scene.other, end, 5, 10).await;
    assert!(rest.iter().all(|entry| entry.id == later) && rest.len() == 5, "{rest:?}");
}

pub(super) async fn a_transition_in_the_feed_says_whose_it_is_and_where_the_saga_stood(
    scene: Scene,
) {
    if !has_feed(&scene).await {
        return;
    }
    let oldest = edge(&scene.store, FeedEdge::Oldest).await;
    let id = ended_at(&scene, Some("key-1"), PAST).await.id;
    let (entries, _) = read(&scene.other, oldest, 5, 100).await;
    let log = scene.other.log(id, 0, 10).await.expect("a log");
    for (entry, row) in entries.iter().zip(&log) {
        assert_eq!((entry.id, &entry.row), (id, row));
        assert_eq!(entry.definition, order().reference());
        assert_eq!(entry.key.as_ref().map(IdempotencyKey::as_str), Some("key-1"));
        let status = if row.seq == 5 { Status::Completed } else { Status::Running };
        assert_eq!(entry.status, status, "position {}", row.seq);
    }
    let due = scene.started(scene.draft(&trip(), None)).await.id;
    let last = entries.last().expect("five").cursor;
    let (entries, _) = read(&scene.other, last, 1, 100).await;
    assert_eq!((entries[0].id, entries[0].key.clone()), (due, None));
}

pub(super) async fn a_reader_is_told_when_something_behind_its_cursor_was_forgotten(scene: Scene) {
    if !has_feed(&scene).await {
        return;
    }
    let oldest = edge(&scene.store, FeedEdge::Oldest).await;
    let live = scene.due().await.id;
    let (_, before) = read(&scene.store, oldest, 1, 100).await;
    ended_at(&scene, None, PAST).await;
    let (_, end) = read(&scene.store, oldest, 6, 100).await;
    assert_eq!(scene.store.forget(Duration::ZERO, 10).await, Ok(1));
    assert_eq!(scene.other.feed(before, 10).await, Err(FeedError::Forgotten));
    assert_eq!(page(&scene.other, end, 10).await.entries, [], "it had seen everything");

    // Who begins at the oldest place is given what is left.
    let (left, caught_up) = read(&scene.other, oldest, 1, 10).await;
    assert_eq!(left.iter().map(|entry| entry.id).collect::<Vec<_>>(), [live]);
    assert!(left[0].cursor.catching_up && !caught_up.catching_up);
    ended_at(&scene, None, PAST).await;
    read(&scene.other, caught_up, 5, 10).await;
    assert_eq!(scene.store.forget(Duration::ZERO, 10).await, Ok(1));
    assert_eq!(scene.other.feed(caught_up, 10).await, Err(FeedError::Forgotten));
}

pub(super) async fn what_follows_a_forgotten_transition_comes_behind_it(scene: Scene) {
    if !has_feed(&scene).await {
        return;
    }
    let oldest = edge(&scene.store, FeedEdge::Oldest).await;
    ended_at(&scene, None, PAST).await;
    let (_, end) = read(&scene.store, oldest, 5, 100).await;
    // The newest transition of all leaves, and nothing is left.
    assert_eq!(scene.store.forget(Duration::ZERO, 10).await, Ok(1));
    let next = scene.due().await.id;
    for store in [&scene.store, &scene.other] {
        let (entries, _) = read(store, end, 1, 10).await;
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [next]);
    }
}

pub(super) async fn a_cursor_from_elsewhere_or_from_ahead_is_refused(scene: Scene) {
    if !has_feed(&scene).await {
        return;
    }
    scene.due().await;
    let oldest = edge(&scene.store, FeedEdge::Oldest).await;
    let (entries, newest) = read(&scene.store, oldest, 1, 10).await;
    let far = i64::MAX as u64;
    for foreign in [
        Cursor { lineage: newest.lineage ^ 1, ..newest },
        Cursor { lineage: oldest.lineage ^ 1, ..oldest },
        Cursor { turn: far, ..newest },
        Cursor { turn: far, ..entries[0].cursor },
    ] {
        for limit in [0, 1, 10] {
            assert_eq!(scene.other.feed(foreign, limit).await, Err(FeedError::Foreign));
        }
    }
    assert_eq!(page(&scene.other, newest, 0).await.cursor, newest);
}
