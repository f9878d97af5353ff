//! Claims: what is due goes to one worker at a time, each epoch of it once.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::scene::{Draft, Driven, FUTURE, PAST, Scene, definition, nobody, order, trip};
use crate::DefinitionRef;
use crate::store::{Append, Claim, SagaRow};

const SAGAS: usize = 96;

pub(super) async fn each_epoch_of_a_saga_is_granted_once_however_many_claim(scene: Scene) {
    for _ in 0..SAGAS {
        scene.due().await;
    }
    let mut claimers = JoinSet::new();
    for number in 0..8 {
        let worker = scene.worker().await;
        let store = if number % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        claimers.spawn(async move {
            let claim = Claim { worker, definitions: vec![order().reference()], limit: 7 };
            let mut granted = Vec::new();
            // Twice over: each saga is let go of once, so that it is claimed a second time.
            for _ in 0..4 * SAGAS {
                let rows = store.claim(&claim).await.expect("a claim");
                for row in rows {
                    assert_eq!(row.owner, Some(worker));
                    let wake = (row.epoch == 1).then_some(PAST);
                    store.release(row.id, worker, row.epoch, wake).await.expect("a release");
                    granted.push((row.id, row.epoch));
                }
            }
            granted
        });
    }
    let granted: Vec<_> = claimers.join_all().await.into_iter().flatten().collect();
    let distinct: HashSet<_> = granted.iter().collect();
    assert_eq!((granted.len(), distinct.len()), (2 * SAGAS, 2 * SAGAS));
}

pub(super) async fn a_claim_takes_only_sagas_of_known_definitions(scene: Scene) {
    let worker = scene.worker().await;
    let wanted = scene.due().await;
    scene.started(scene.draft(&trip(), None)).await;
    scene.started(scene.draft(&definition("order", 2, &["reserve-stock"]), None)).await;

    let lost = scene.owned(nobody()).await;
    let draft = Draft { owner: Some(nobody()), wake: None, ..scene.draft(&trip(), None) };
    scene.started(draft).await;

    let unknown = DefinitionRef { digest: trip().digest(), ..order().reference() };
    assert_eq!(claimed(&scene, worker_claim(worker, vec![unknown], 10)).await, []);
    assert_eq!(claimed(&scene, worker_claim(worker, Vec::new(), 10)).await, []);
    let known = vec![definition("other", 1, &["x"]).reference(), order().reference()];
    let mut taken = claimed(&scene, worker_claim(worker, known, 10)).await;
    taken.sort();
    assert_eq!(taken, [wanted.id, lost.id]);
}

pub(super) async fn a_claim_takes_at_most_its_limit(scene: Scene) {
    let (worker, lost) = (scene.worker().await, scene.worker().await);
    for _ in 0..5 {
        scene.due().await;
        scene.owned(lost).await;
    }
    scene.expire(lost).await;
    let known = vec![order().reference()];
    let mut left = 10;
    for limit in [0, 3, 4, 100] {
        let taken = claimed(&scene, worker_claim(worker, known.clone(), limit)).await.len();
        assert_eq!(taken, left.min(limit as usize));
        left -= taken;
    }
    assert_eq!(left, 0);
}

pub(super) async fn a_claim_takes_only_what_is_due(scene: Scene) {
    let worker = scene.worker().await;
    let due = scene.due().await;
    // The lease tells the store's own time: it ends an hour from now.
    let soon = scene.other.workers().await.expect("a read")[0].lease_until;
    for wake in [Some(soon), Some(FUTURE), None] {
        let draft = Draft { wake, ..scene.draft(&order(), None) };
        scene.started(draft).await;
    }
    let rows = scene.claim(worker).await;
    assert_eq!(ids(&rows), [due.id]);
    assert_eq!((rows[0].owner, rows[0].epoch, rows[0].claims), (Some(worker), 1, 1));
    assert_eq!(rows[0], scene.row(due.id).await, "a claim tells what is on record");
    assert_eq!(scene.claim(worker).await, []);
    scene.assert_sound().await;
}

pub(super) async fn a_claim_passes_over_what_is_stuck_or_ended_or_owned(scene: Scene) {
    let (worker, other) = (scene.worker().await, scene.worker().await);
    scene.owned(other).await;
    let mut ended = scene.owned(other).await;
    while !ended.has_ended() {
        assert_eq!(scene.store.append(ended.advance()).await, Ok(()));
    }
    let (_, appends) = scene.owned(other).await.into_stuck();
    for append in appends {
        let release = append.row.seq == 5;
        assert_eq!(scene.store.append(Append { release, ..append }).await, Ok(()));
    }
    scene.assert_sound().await;
    assert_eq!(scene.claim(worker).await, []);
}

pub(super) async fn one_definition_with_much_due_does_not_keep_another_waiting(scene: Scene) {
    let worker = scene.worker().await;
    for _ in 0..20 {
        let wake = Some(PAST.after(Duration::from_micros(1)));
        scene.started(Draft { wake, ..scene.draft(&order(), None) }).await;
    }
    let rare = scene.started(scene.draft(&trip(), None)).await;
    let known = vec![order().reference(), trip().reference()];
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.extend(claimed(&scene, worker_claim(worker, known.clone(), 8)).await);
    }
    assert!(taken.contains(&rare.id), "a claim or two reach every definition");
}

pub(super) async fn claims_without_progress_are_counted(scene: Scene) {
    let mut driven: Driven = scene.due().await;
    for deaths in 1..4 {
        let worker = scene.worker().await;
        let rows = scene.claim(worker).await;
        assert_eq!((rows[0].epoch, rows[0].claims), (deaths, deaths as u32));
        driven.taken(&rows);
        scene.expire(worker).await;
    }
    let worker = scene.worker().await;
    driven.taken(&scene.claim(worker).await);
    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    assert_eq!(scene.row(driven.id).await.claims, 0, "an append is progress");

    scene.expire(worker).await;
    let worker = scene.worker().await;
    driven.taken(&scene.claim(worker).await);
    assert_eq!(scene.store.release(driven.id, worker, driven.epoch, Some(PAST)).await, Ok(()));
    assert_eq!(scene.row(driven.id).await.claims, 0, "letting go is not dying");
}

fn worker_claim(worker: crate::WorkerId, definitions: Vec<DefinitionRef>, limit: u32) -> Claim {
    Claim { worker, definitions, limit }
}

async fn claimed(scene: &Scene, claim: Claim) -> Vec<crate::SagaId> {
    ids(&scene.store.claim(&claim).await.expect("a claim"))
}

fn ids(rows: &[SagaRow]) -> Vec<crate::SagaId> {
    rows.iter().map(|row| row.id).collect()
}
