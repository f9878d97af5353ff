//! Reads: what is found, counted and loaded.

use std::time::Duration;

use super::scene::{Draft, FUTURE, LONG, PAST, Scene, command, order, trip};
use crate::store::{Append, Backlog, CommandAnswer, Query, SubmitOutcome};
use crate::{IdempotencyKey, SagaId, Status, WaitReason};

pub(super) async fn sagas_are_found_by_status_and_name_and_key(scene: Scene) {
    let worker = scene.worker().await;
    let running = scene.started(scene.draft(&order(), Some("key-1"))).await.id;
    let other = scene.started(scene.draft(&trip(), Some("key-1"))).await.id;
    let done = completed(&scene, Some("key-2")).await;
    let (stuck, appends) = scene.owned(worker).await.into_stuck();
    for append in appends {
        let release = append.row.seq == 5;
        assert_eq!(scene.store.append(Append { release, ..append }).await, Ok(()));
    }

    let all = Query::default();
    let with_key = |key: &str| Some(IdempotencyKey::new(key).expect("a short key"));
    let with_name = |name: &str| Some(name.to_owned());
    let (active, ended) = (vec![Status::Running, Status::Stuck], vec![Status::Completed]);
    let cases = [
        (all.clone(), vec![stuck.id, done, other, running]),
        (Query { statuses: active.clone(), ..all.clone() }, vec![stuck.id, other, running]),
        (Query { statuses: ended.clone(), ..all.clone() }, vec![done]),
        (Query { statuses: vec![Status::Stopped], ..all.clone() }, vec![]),
        (Query { name: with_name("order"), ..all.clone() }, vec![stuck.id, done, running]),
        (Query { name: with_name("nothing"), ..all.clone() }, vec![]),
        (Query { key: with_key("key-1"), ..all.clone() }, vec![other, running]),
        (Query { key: with_key("key-3"), ..all.clone() }, vec![]),
        (Query { key: with_key("key-1"), name: with_name("trip"), ..all.clone() }, vec![other]),
        (Query { key: with_key("key-2"), statuses: active.clone(), ..all.clone() }, vec![]),
        (Query { key: with_key("key-2"), statuses: ended, ..all.clone() }, vec![done]),
        (Query { key: with_key("key-1"), before: Some(other), ..all.clone() }, vec![running]),
        (Query { key: with_key("key-1"), limit: 1, ..all.clone() }, vec![other]),
        (Query { statuses: active, name: with_name("trip"), ..all }, vec![other]),
    ];
    for (query, wanted) in cases {
        let rows = scene.other.find(&query).await.expect("a page");
        let found: Vec<_> = rows.iter().map(|row| row.id).collect();
        assert_eq!(found, wanted, "{query:?}");
        for row in rows {
            assert_eq!(row, scene.row(row.id).await);
        }
    }
}

pub(super) async fn pages_have_neither_gaps_nor_duplicates(scene: Scene) {
    let mut wanted = Vec::new();
    for number in 0..25 {
        let spec = if number % 3 == 0 { trip() } else { order() };
        wanted.push(scene.started(scene.draft(&spec, None)).await.id);
    }
    for number in 0..5 {
        wanted.push(completed(&scene, Some(&format!("done-{number}"))).await);
    }
    wanted.sort_by(|a, b| b.cmp(a));
    let both = vec![Status::Completed, Status::Running, Status::Running];
    for statuses in [Vec::new(), both] {
        for limit in [1, 7, 30] {
            let mut found: Vec<SagaId> = Vec::new();
            loop {
                let before = found.last().copied();
                let query = Query { statuses: statuses.clone(), before, limit, ..Query::default() };
                let page = scene.other.find(&query).await.expect("a page");
                assert!(page.len() <= limit as usize);
                assert!(page.iter().all(|row| before.is_none_or(|before| row.id < before)));
                if page.is_empty() {
                    break;
                }
                found.extend(page.iter().map(|row| row.id));
                // A saga that appears meanwhile is newer than the page and disturbs nothing.
                scene.due().await;
            }
            found.retain(|id| wanted.contains(id));
            assert_eq!(found, wanted);
        }
    }
}

pub(super) async fn a_page_is_bounded(scene: Scene) {
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..520 {
        let (store, (_, new)) = (scene.store.clone(), scene.draft(&order(), None).build());
        starts.spawn(async move { store.start(new).await.expect("a start") });
    }
    starts.join_all().await;
    for (limit, wanted) in [(0, 100), (3, 3), (500, 500), (501, 500), (u32::MAX, 500)] {
        for statuses in [Vec::new(), vec![Status::Running]] {
            let query = Query { limit, statuses, ..Query::default() };
            assert_eq!(scene.other.find(&query).await.expect("a page").len(), wanted);
        }
    }
}

pub(super) async fn sagas_are_counted_by_status(scene: Scene) {
    assert!(scene.other.counts().await.expect("counts").iter().all(|(_, count)| *count == 0));
    for number in 0..3 {
        scene.due().await;
        completed(&scene, Some(&format!("done-{number}"))).await;
    }
    scene.due().await;
    let counts = scene.other.counts().await.expect("counts");
    let of = |wanted| counts.iter().filter(|(status, _)| *status == wanted).map(|(_, n)| n).sum();
    let counted: [u64; 3] = [of(Status::Running), of(Status::Completed), of(Status::Stuck)];
    assert_eq!(counted, [4, 3, 0]);
}

pub(super) async fn what_waits_is_counted_with_its_age(scene: Scene) {
    let backlog = async || scene.other.backlog().await.expect("a backlog");
    let Backlog { due, due_since, stuck, unanswered, unanswered_since, .. } = backlog().await;
    assert_eq!((due, due_since, unanswered, unanswered_since), (0, None, 0, None));
    assert!(stuck.is_empty());

    assert_eq!(scene.store.publish(&order()).await, Ok(()));
    let worker = scene.worker().await;
    let asked_of = scene.due().await.id;
    scene.due().await;
    scene.started(Draft { wake: Some(FUTURE), ..scene.draft(&order(), None) }).await;
    scene.owned(worker).await;
    for code in ["poison", "log_full", "poison"] {
        let (_, appends) = scene.owned(worker).await.into_stuck();
        for mut append in appends {
            append.release = append.row.seq == 5;
            let (code, why) = (code.to_owned(), "a person is needed".to_owned());
            append.summary.wait = Some(WaitReason::Stuck { code, step: None, why });
            assert_eq!(scene.store.append(append).await, Ok(()));
        }
    }
    let asked = command("request-1", "the customer called");
    assert_eq!(scene.store.submit(asked_of, &asked).await, Ok(SubmitOutcome::Queued));

    let found = backlog().await;
    assert_eq!((found.due, found.due_since), (2, Some(PAST)));
    assert!(found.due_for() > LONG, "by the store's own clock");
    assert_eq!(found.stuck, [("log_full".to_owned(), 1), ("poison".to_owned(), 2)]);
    assert_eq!(found.unanswered, 1);
    assert!(found.unanswered_since.is_some_and(|since| since <= found.at));
    let accepted = CommandAnswer::Accepted;
    assert_eq!(scene.store.answer(asked_of, &asked.request_id, &accepted, None).await, Ok(()));
    let found = backlog().await;
    assert_eq!((found.unanswered, found.unanswered_for()), (0, Duration::ZERO));
}

pub(super) async fn a_load_is_one_snapshot(scene: Scene) {
    let worker = scene.worker().await;
    for _ in 0..20 {
        let mut driven = scene.owned(worker).await;
        let (id, store) = (driven.id, scene.store.clone());
        let writing = tokio::spawn(async move {
            while !driven.has_ended() {
                assert_eq!(store.append(driven.advance()).await, Ok(()));
            }
        });
        while !writing.is_finished() {
            let (row, log) = scene.other.load(id).await.expect("a read").expect("the saga");
            assert_eq!((row.seq, log.len() as u64), (log[log.len() - 1].seq, row.seq));
        }
        writing.await.expect("the saga ends");
    }
}

pub(super) async fn a_log_is_read_in_pages(scene: Scene) {
    let id = completed(&scene, None).await;
    let (_, log) = scene.other.load(id).await.expect("a read").expect("the saga");
    assert_eq!(log.len(), 5);
    for (after, limit, wanted) in [
        (0, 100, &log[..]),
        (0, 2, &log[..2]),
        (2, 2, &log[2..4]),
        (4, 2, &log[4..]),
        (5, 2, &[]),
        (u64::MAX, u32::MAX, &[]),
        (0, 0, &[]),
    ] {
        assert_eq!(scene.other.log(id, after, limit).await.expect("a read"), wanted);
    }
}

pub(super) async fn an_unknown_saga_is_nothing(scene: Scene) {
    scene.due().await;
    for id in [scene.draft(&order(), None).id, SagaId::from_bytes([0xff; 16])] {
        assert_eq!(scene.other.row(id).await, Ok(None));
        assert_eq!(scene.other.load(id).await, Ok(None));
        assert_eq!(scene.other.log(id, 0, 10).await, Ok(Vec::new()));
        assert_eq!(scene.other.commands(id).await, Ok(Vec::new()));
    }
}

/// A saga of the definition `order` with five log rows that ended well.
async fn completed(scene: &Scene, key: Option<&str>) -> SagaId {
    let owner = Some(scene.worker().await);
    let draft = Draft { owner, wake: None, ..scene.draft(&order(), key) };
    let mut driven = scene.started(draft).await;
    while !driven.has_ended() {
        assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    }
    driven.id
}
