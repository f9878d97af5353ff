//! Appends: at the expected position, by the owner at its epoch, or not at all.

use tokio::task::JoinSet;

use super::scene::{FUTURE, Scene, assert_fenced, assert_whole, nobody};
use crate::Timestamp;
use crate::store::{Append, Summary};

pub(super) async fn an_append_moves_the_row_and_the_log_together(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    while !driven.has_ended() {
        let append = driven.advance();
        assert_eq!(scene.store.append(append.clone()).await, Ok(()));
        let (row, log) = scene.other.load(driven.id).await.expect("a read").expect("the saga");
        assert_eq!((row.seq, &row.summary), (append.row.seq, &append.summary));
        assert_eq!(log.last(), Some(&append.row));
        scene.assert_sound().await;
    }
}

pub(super) async fn an_append_at_another_position_is_fenced_and_changes_nothing(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    let next = driven.advance();
    for seq in [0, 1, next.row.seq - 1, next.row.seq + 1, u64::MAX] {
        let mut wrong = next.clone();
        wrong.row.seq = seq;
        assert_refused(&scene, wrong).await;
    }
}

pub(super) async fn an_append_by_another_worker_is_fenced_and_changes_nothing(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    let next = driven.advance();
    for other in [scene.worker().await, nobody()] {
        assert_refused(&scene, Append { owner: other, ..next.clone() }).await;
    }
    // Nor can one whom nobody owns be appended to.
    assert_eq!(scene.store.append(Append { release: true, ..next }).await, Ok(()));
    assert_refused(&scene, driven.advance()).await;
}

pub(super) async fn an_append_under_another_epoch_is_fenced_and_changes_nothing(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    let next = driven.advance();
    for epoch in [0, next.row.epoch + 1, u64::MAX] {
        let mut wrong = next.clone();
        wrong.row.epoch = epoch;
        assert_refused(&scene, wrong).await;
    }
}

pub(super) async fn an_append_to_an_unknown_saga_is_fenced(scene: Scene) {
    let owner = scene.worker().await;
    let (mut driven, _) = scene.draft(&super::scene::order(), None).build();
    let append = Append { owner, ..driven.advance() };
    assert_refused(&scene, append).await;
}

async fn assert_refused(scene: &Scene, append: Append) {
    let before = scene.picture(append.id).await;
    assert_fenced(scene.store.append(append.clone()).await, &append);
    assert_eq!(scene.picture(append.id).await, before);
}

pub(super) async fn a_repeated_append_succeeds_without_a_change(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    let append = driven.advance();
    assert_eq!(scene.store.append(append.clone()).await, Ok(()));
    let before = scene.picture(driven.id).await;
    assert_eq!(scene.store.append(append.clone()).await, Ok(()));
    assert_eq!(scene.other.append(append).await, Ok(()));
    assert_eq!(scene.picture(driven.id).await, before);
}

pub(super) async fn an_append_repeated_late_succeeds_only_with_the_identical_row(scene: Scene) {
    let (first, second) = (scene.worker().await, scene.worker().await);
    let mut driven = scene.owned(first).await;
    let early = driven.advance();
    assert_eq!(scene.store.append(early.clone()).await, Ok(()));
    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    scene.expire(first).await;
    driven.taken(&scene.claim(second).await);
    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));

    let before = scene.picture(driven.id).await;
    assert_eq!(scene.store.append(early.clone()).await, Ok(()));
    assert_eq!(scene.picture(driven.id).await, before);
    let mut with_other_body = early.clone();
    with_other_body.row.body = "[]".into();
    assert_refused(&scene, with_other_body).await;
    let mut under_another_epoch = early.clone();
    under_another_epoch.row.epoch += 1;
    assert_refused(&scene, under_another_epoch).await;
    let mut at_another_time = early;
    at_another_time.row.at = FUTURE;
    assert_refused(&scene, at_another_time).await;
}

pub(super) async fn of_racing_appends_to_one_position_exactly_one_wins(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    let append = driven.advance();
    let mut race = JoinSet::new();
    for caller in 0..16 {
        let mut append = append.clone();
        append.row.at = Timestamp::from_micros(5_000 + caller);
        let store = if caller % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        race.spawn(async move { (append.row.clone(), store.append(append).await) });
    }
    let outcomes = race.join_all().await;
    let won: Vec<_> = outcomes.into_iter().filter(|(_, outcome)| outcome.is_ok()).collect();
    let (row, log) = scene.other.load(driven.id).await.expect("a read").expect("the saga");
    assert_eq!(won.len(), 1);
    assert_eq!((row.seq, &log[1..]), (2, &[won[0].0.clone()][..]));
}

pub(super) async fn an_append_that_ends_or_releases_lets_go_of_the_saga(scene: Scene) {
    let owner = scene.worker().await;
    let mut released = scene.owned(owner).await;
    let append = released.advance();
    let summary = Summary { next_wake_at: Some(FUTURE), ..append.summary.clone() };
    let append = Append { summary: summary.clone(), release: true, ..append };
    assert_eq!(scene.store.append(append).await, Ok(()));
    let row = scene.row(released.id).await;
    assert_eq!((row.owner, row.summary), (None, summary));

    let mut ended = scene.owned(owner).await;
    while !ended.has_ended() {
        assert_eq!(scene.store.append(ended.advance()).await, Ok(()));
    }
    let row = scene.row(ended.id).await;
    assert_eq!((row.owner, row.summary.next_wake_at), (None, None));
    assert_eq!(scene.other.owned(owner).await, Ok(Vec::new()));
    scene.assert_sound().await;
}

pub(super) async fn two_hundred_sagas_appended_at_once_keep_whole_logs(scene: Scene) {
    let owner = scene.worker().await;
    let mut running = JoinSet::new();
    for number in 0..200 {
        let store = if number % 3 == 0 { scene.other.clone() } else { scene.store.clone() };
        let mut driven = scene.owned(owner).await;
        running.spawn(async move {
            while !driven.has_ended() {
                assert_eq!(store.append(driven.advance()).await, Ok(()));
                // Lets the others in between, also where the store never has to wait.
                tokio::task::yield_now().await;
            }
            driven.id
        });
    }
    for id in running.join_all().await {
        let picture = scene.picture(id).await;
        assert_whole(&picture);
        let (row, log) = picture.0.expect("the saga");
        assert!(row.summary.ended_at.is_some() && log.len() as u64 == row.seq);
    }
}
