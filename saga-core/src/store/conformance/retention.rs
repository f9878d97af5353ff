//! Retention: what ended long ago leaves, whole, and nothing else does.

use std::time::Duration;

use tokio::task::JoinSet;

use super::scene::{Draft, FUTURE, LONG, PAST, Scene, assert_fenced, command, order, trip};
use crate::store::{Append, CommandAnswer, Query, StartOutcome, SubmitOutcome};
use crate::{IdempotencyKey, SagaId, Timestamp};

const NO_TIME: Duration = Duration::ZERO;
/// More than any of these facts has sagas.
const ALL: u32 = 1_000;

pub(super) async fn only_what_ended_longer_ago_than_the_age_is_forgotten(scene: Scene) {
    let now = now(&scene).await;
    let ago = |hours: i64| Timestamp::from_micros(now.as_micros() - hours * 3_600_000_000);
    let oldest = ended_at(&scene, None, ago(3)).await.id;
    let older = ended_at(&scene, None, ago(1)).await.id;
    let future = ended_at(&scene, None, FUTURE).await.id;
    assert_eq!(forget(&scene, Duration::MAX, ALL).await, 0);
    assert_eq!(forget(&scene, LONG * 4, ALL).await, 0);
    assert_eq!(forget(&scene, LONG * 2, ALL).await, 1);
    assert_eq!(scene.other.row(oldest).await, Ok(None));
    assert_eq!(scene.row(older).await.id, older);
    assert_eq!(forget(&scene, LONG / 2, ALL).await, 1);
    assert_eq!(forget(&scene, NO_TIME, ALL).await, 0);
    let left: Vec<_> = scene.all().await.iter().map(|row| row.id).collect();
    assert_eq!(left, [future]);
}

pub(super) async fn a_live_or_stuck_saga_is_never_forgotten(scene: Scene) {
    let worker = scene.worker().await;
    let due = scene.due().await;
    let waiting = scene.started(Draft { wake: Some(FUTURE), ..scene.draft(&trip(), None) }).await;
    let mut owned = scene.owned(worker).await;
    assert_eq!(scene.store.append(owned.advance()).await, Ok(()));
    let (stuck, appends) = scene.owned(worker).await.into_stuck();
    for append in appends {
        let release = append.row.seq == 5;
        assert_eq!(scene.store.append(Append { release, ..append }).await, Ok(()));
    }
    let alive = [due.id, waiting.id, owned.id, stuck.id];
    let before = pictures(&scene, &alive).await;
    for age in [NO_TIME, Duration::from_secs(1), LONG] {
        assert_eq!(forget(&scene, age, ALL).await, 0);
    }
    assert_eq!(pictures(&scene, &alive).await, before);
}

pub(super) async fn the_earliest_ended_are_forgotten_first_and_at_most_the_limit(scene: Scene) {
    let mut ids = Vec::new();
    // Neither the order of the ends nor that of the starts is the order of the ids.
    for hour in [3, 0, 4, 1, 2] {
        let at = Timestamp::from_micros(PAST.as_micros() + hour * 3_600_000_000);
        ids.push((hour, ended_at(&scene, None, at).await.id));
    }
    ids.sort_unstable();
    assert_eq!(forget(&scene, NO_TIME, 0).await, 0);
    let mut left = ids.len();
    for (limit, expected) in [(1, 1), (2, 2), (ALL, 2), (ALL, 0)] {
        assert_eq!(forget(&scene, NO_TIME, limit).await, expected);
        left -= expected as usize;
        for (nth, (_, id)) in ids.iter().enumerate() {
            let row = scene.other.row(*id).await.expect("a read");
            assert_eq!(row.is_some(), nth >= ids.len() - left, "number {nth} of {}", ids.len());
        }
    }
}

pub(super) async fn a_forgotten_saga_leaves_with_all_its_rows_and_takes_nothing_of_others(
    scene: Scene,
) {
    let key = IdempotencyKey::new("key-1").expect("a short key");
    let gone = ended_at(&scene, Some("key-1"), PAST).await;
    let young = ended_at(&scene, Some("key-2"), FUTURE).await;
    let live = scene.due().await;
    let [answered, open] = ["request-1", "request-2"].map(|request| command(request, "why"));
    for id in [gone.id, young.id, live.id] {
        for asked in [&answered, &open] {
            assert_eq!(scene.store.submit(id, asked).await, Ok(SubmitOutcome::Queued));
        }
        let answer = CommandAnswer::Accepted;
        assert_eq!(scene.store.answer(id, &answered.request_id, &answer, None).await, Ok(()));
    }
    let before = pictures(&scene, &[young.id, live.id]).await;
    assert_eq!(forget(&scene, NO_TIME, ALL).await, 1);

    assert_gone(&scene, gone.id).await;
    let with_key = Query { key: Some(key), ..Query::default() };
    assert_eq!(scene.other.find(&with_key).await, Ok(Vec::new()));
    let counted = scene.other.counts().await.expect("counts");
    assert_eq!(counted.iter().map(|(_, sagas)| sagas).sum::<u64>(), 2);
    assert_eq!(pictures(&scene, &[young.id, live.id]).await, before);

    for asked in [&answered, &open] {
        assert_eq!(scene.store.submit(gone.id, asked).await, Ok(SubmitOutcome::NotFound));
    }
    // As a worker would repeat it that was never told what became of its last append.
    assert_fenced(scene.store.append(gone.clone()).await, &gone);
    assert_gone(&scene, gone.id).await;
    scene.assert_sound().await;
}

pub(super) async fn the_key_of_a_forgotten_saga_is_free_again(scene: Scene) {
    let first = ended_at(&scene, Some("key-1"), PAST).await.id;
    let other = scene.started(scene.draft(&trip(), Some("key-1"))).await.id;
    let (again, new) = scene.draft(&order(), Some("key-1")).build();
    let known = StartOutcome::Existing { id: first, same_input: true };
    assert_eq!(scene.store.start(new.clone()).await, Ok(known));
    assert_eq!(forget(&scene, NO_TIME, ALL).await, 1);
    assert_eq!(scene.store.start(new).await, Ok(StartOutcome::Created));
    assert_eq!(scene.row(again.id).await.id, again.id);
    assert_eq!(scene.row(other).await.id, other, "that of another definition is its own");
    scene.assert_sound().await;
}

pub(super) async fn of_many_who_forget_at_once_each_saga_is_counted_by_one(scene: Scene) {
    for _ in 0..60 {
        ended_at(&scene, None, PAST).await;
    }
    let live = scene.due().await.id;
    let mut race = JoinSet::new();
    for worker in 0..8 {
        let store = if worker % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        race.spawn(async move {
            let mut mine = 0;
            loop {
                match store.forget(NO_TIME, 7).await.expect("forgetting") {
                    0 => return mine,
                    some => mine += some,
                }
            }
        });
    }
    let mut counted: u32 = race.join_all().await.into_iter().sum();
    // A caller may find that the others have their hands on all that is left.
    counted += forget(&scene, NO_TIME, ALL).await;
    assert_eq!(counted, 60);
    let left: Vec<_> = scene.all().await.iter().map(|row| row.id).collect();
    assert_eq!(left, [live]);
}

pub(super) async fn commands_that_race_with_forgetting_leave_nothing_behind(scene: Scene) {
    for _ in 0..40 {
        let id = ended_at(&scene, None, PAST).await.id;
        let mut race = JoinSet::new();
        for caller in 0..4 {
            let store = scene.other.clone();
            let asked = command(&format!("request-{caller}"), "too late");
            race.spawn(async move { store.submit(id, &asked).await.expect("a command") });
        }
        let left = forget(&scene, NO_TIME, ALL).await;
        let outcomes = race.join_all().await;
        let fits = |outcome| matches!(outcome, SubmitOutcome::Queued | SubmitOutcome::NotFound);
        assert!(outcomes.into_iter().all(fits));
        assert_eq!(left + forget(&scene, NO_TIME, ALL).await, 1);
        assert_gone(&scene, id).await;
    }
}

pub(super) async fn starts_that_race_with_forgetting_give_one_saga_each(scene: Scene) {
    for round in 0..40 {
        let key = format!("key-{round}");
        let old = ended_at(&scene, Some(&key), PAST).await.id;
        let mut race = JoinSet::new();
        for _ in 0..4 {
            let (driven, new) = scene.draft(&order(), Some(&key)).build();
            let store = scene.other.clone();
            race.spawn(async move { (driven.id, store.start(new).await.expect("a start")) });
        }
        assert_eq!(forget(&scene, NO_TIME, ALL).await, 1);
        let outcomes = race.join_all().await;
        let created: Vec<SagaId> = outcomes
            .iter()
            .filter(|(_, outcome)| *outcome == StartOutcome::Created)
            .map(|(id, _)| *id)
            .collect();
        assert!(created.len() <= 1, "one key, one saga");
        for (_, outcome) in outcomes {
            if let StartOutcome::Existing { id, same_input } = outcome {
                assert!(same_input && (id == old || created.contains(&id)));
            }
        }
        let key = IdempotencyKey::new(key).expect("a short key");
        let found = scene.other.find(&Query { key: Some(key), ..Query::default() }).await;
        let found: Vec<_> = found.expect("a page").iter().map(|row| row.id).collect();
        assert_eq!(found, created, "whoever was told so created what is there");
    }
    scene.assert_sound().await;
}

/// The last append of a saga of the definition `order` that ended well, at this moment by the
/// account of its row.
pub(super) async fn ended_at(scene: &Scene, key: Option<&str>, at: Timestamp) -> Append {
    let owner = Some(scene.worker().await);
    let draft = Draft { owner, wake: None, ..scene.draft(&order(), key) };
    let mut driven = scene.started(draft).await;
    loop {
        let mut append = driven.advance();
        append.summary.ended_at = append.summary.ended_at.map(|_| at);
        assert_eq!(scene.store.append(append.clone()).await, Ok(()));
        if driven.has_ended() {
            return append;
        }
    }
}

/// Asserts that nothing of a saga is to be seen any more.
pub(super) async fn assert_gone(scene: &Scene, id: SagaId) {
    assert_eq!(scene.picture(id).await, (None, Vec::new()));
    assert_eq!(scene.other.row(id).await, Ok(None));
    assert_eq!(scene.other.log(id, 0, ALL).await, Ok(Vec::new()));
}

async fn forget(scene: &Scene, age: Duration, limit: u32) -> u32 {
    scene.store.forget(age, limit).await.expect("forgetting")
}

/// The store's own time, as a lease tells it.
async fn now(scene: &Scene) -> Timestamp {
    let worker = scene.worker().await;
    let workers = scene.other.workers().await.expect("a read");
    let row = workers.iter().find(|row| row.card.id == worker).expect("it has enlisted");
    let length = i64::try_from(LONG.as_micros()).expect("an hour");
    Timestamp::from_micros(row.lease_until.as_micros() - length)
}

async fn pictures(scene: &Scene, ids: &[SagaId]) -> Vec<super::scene::Picture> {
    let mut pictures = Vec::new();
    for id in ids {
        pictures.push(scene.picture(*id).await);
    }
    pictures
}
