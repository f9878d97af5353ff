//! Leases: who may drive, until when, and what becomes of the sagas of those who may not.

use std::time::Duration;

use super::scene::{FUTURE, LONG, PAST, Scene, assert_fenced, nobody, order, trip};
use crate::store::WorkerCard;

pub(super) async fn a_worker_without_a_live_lease_is_given_nothing(scene: Scene) {
    let (expired, retired) = (scene.worker().await, scene.worker().await);
    scene.expire(expired).await;
    scene.store.retire(retired).await.expect("a retirement");
    let due = scene.due().await;
    for worker in [expired, retired, nobody()] {
        assert_eq!(scene.claim(worker).await, []);
    }
    assert_eq!((scene.row(due.id).await.epoch, scene.row(due.id).await.owner), (0, None));
}

pub(super) async fn an_expired_worker_loses_its_sagas_and_is_fenced(scene: Scene) {
    let (zombie, next) = (scene.worker().await, scene.worker().await);
    let mut driven = scene.owned(zombie).await;
    let mut late = driven.clone();
    assert_eq!(scene.claim(next).await, [], "a live lease protects its sagas");

    scene.expire(zombie).await;
    let rows = scene.claim(next).await;
    driven.taken(&rows);
    assert_eq!((rows.len(), rows[0].owner, rows[0].epoch), (1, Some(next), 2));
    let before = scene.picture(driven.id).await;
    let append = late.advance();
    assert_fenced(scene.store.append(append.clone()).await, &append);
    assert_eq!(scene.store.release(late.id, zombie, late.epoch, Some(PAST)).await, Ok(()));
    assert_eq!(scene.picture(driven.id).await, before);

    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    scene.assert_sound().await;
}

pub(super) async fn the_sagas_of_an_owner_without_a_lease_are_up_for_claims(scene: Scene) {
    let worker = scene.worker().await;
    let orphan = scene.owned(nobody()).await;
    let rows = scene.claim(worker).await;
    assert_eq!((rows.len(), rows[0].id, rows[0].owner), (1, orphan.id, Some(worker)));
}

pub(super) async fn only_a_live_lease_can_be_renewed(scene: Scene) {
    let worker = scene.worker().await;
    assert_eq!(scene.store.renew(worker, 2 * LONG).await, Ok(true));
    let listed = scene.other.workers().await.expect("a read");
    scene.expire(worker).await;
    let expired = scene.other.workers().await.expect("a read");
    let gained = listed[0].lease_until.since(expired[0].lease_until);
    assert!(gained > LONG, "a renewal counts from now: {gained:?}");
    assert!(!listed[0].expired && expired[0].expired);

    assert_eq!(scene.store.renew(worker, LONG).await, Ok(false), "it has run out");
    assert_eq!(scene.store.renew(nobody(), LONG).await, Ok(false), "it never was");
    let retired = scene.worker().await;
    scene.store.retire(retired).await.expect("a retirement");
    assert_eq!(scene.store.renew(retired, LONG).await, Ok(false), "it was given back");
    let eternal = scene.worker().await;
    assert_eq!(scene.store.renew(eternal, Duration::MAX).await, Ok(true));
    assert_eq!(scene.store.renew(eternal, LONG).await, Ok(true));
}

pub(super) async fn a_retired_worker_hands_everything_back_at_once(scene: Scene) {
    let (leaving, next) = (scene.worker().await, scene.worker().await);
    let mut sagas = vec![scene.owned(leaving).await, scene.owned(leaving).await];
    scene.store.retire(leaving).await.expect("a retirement");
    for driven in &mut sagas {
        let row = scene.row(driven.id).await;
        assert_eq!((row.owner, row.claims), (None, 0));
        let append = driven.advance();
        assert_fenced(scene.store.append(append.clone()).await, &append);
    }
    assert_eq!(scene.claim(next).await.len(), 2, "they are due at once");
    assert!(scene.other.workers().await.expect("a read").iter().all(|w| w.card.id != leaving));
    assert_eq!(scene.store.retire(leaving).await, Ok(()), "once more does no harm");
    scene.assert_sound().await;
}

pub(super) async fn a_release_makes_the_saga_due_when_it_says(scene: Scene) {
    let (worker, next) = (scene.worker().await, scene.worker().await);
    let (now, later, never) =
        (scene.owned(worker).await, scene.owned(worker).await, scene.owned(worker).await);
    for (driven, wake) in [(&now, Some(PAST)), (&later, Some(FUTURE)), (&never, None)] {
        assert_eq!(scene.store.release(driven.id, worker, driven.epoch, wake).await, Ok(()));
        let row = scene.row(driven.id).await;
        assert_eq!((row.owner, row.summary.next_wake_at), (None, wake));
    }
    let rows = scene.claim(next).await;
    assert_eq!((rows.len(), rows[0].id), (1, now.id));
}

pub(super) async fn a_release_under_another_epoch_does_nothing(scene: Scene) {
    let (worker, other) = (scene.worker().await, scene.worker().await);
    let driven = scene.owned(worker).await;
    let before = scene.picture(driven.id).await;
    for (worker, epoch) in [(worker, 0), (worker, 2), (other, driven.epoch)] {
        assert_eq!(scene.store.release(driven.id, worker, epoch, Some(PAST)).await, Ok(()));
    }
    assert_eq!(scene.picture(driven.id).await, before);
    let unknown = scene.draft(&order(), None).id;
    assert_eq!(scene.store.release(unknown, worker, 1, None).await, Ok(()));
}

pub(super) async fn what_a_worker_owns_is_listed(scene: Scene) {
    let (worker, other) = (scene.worker().await, scene.worker().await);
    let started = scene.owned(worker).await;
    let claimed = scene.due().await;
    scene.claim(worker).await;
    scene.owned(other).await;
    scene.due().await;

    let mut rows = scene.other.owned(worker).await.expect("a read");
    rows.sort_by_key(|row| row.id);
    assert_eq!(rows, [scene.row(started.id).await, scene.row(claimed.id).await]);
    assert_eq!(scene.other.owned(nobody()).await, Ok(Vec::new()));
}

pub(super) async fn workers_are_listed_with_what_they_said(scene: Scene) {
    assert_eq!(scene.other.workers().await, Ok(Vec::new()));
    let id = scene.worker().await;
    let definitions = vec![order().reference(), trip().reference()];
    let card = WorkerCard { id, name: "quote ' and \"newline\"\n ünï".into(), definitions };
    scene.store.enlist(&card, LONG).await.expect("a worker enlists");
    let listed = scene.other.workers().await.expect("a read");
    assert_eq!((listed.len(), &listed[0].card, listed[0].expired), (1, &card, false));
}
