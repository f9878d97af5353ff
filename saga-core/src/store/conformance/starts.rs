//! Starts: once for every definition name and idempotency key, whatever races.

use tokio::task::JoinSet;

use super::scene::{Draft, Scene, definition, order, trip};
use crate::Payload;
use crate::store::StartOutcome;

pub(super) async fn sixty_four_racing_starts_with_one_key_give_one_saga(scene: Scene) {
    let mut starts = JoinSet::new();
    for caller in 0..64 {
        let (_, new) = scene.draft(&order(), Some("order-17")).build();
        let store = if caller % 2 == 0 { scene.store.clone() } else { scene.other.clone() };
        starts.spawn(async move { (new.id, store.start(new).await.expect("a start")) });
    }
    let outcomes = starts.join_all().await;
    let (created, existing): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|(_, outcome)| *outcome == StartOutcome::Created);
    assert_eq!(created.len(), 1, "one caller created the saga");
    let id = created[0].0;
    for (_, outcome) in existing {
        assert_eq!(outcome, StartOutcome::Existing { id, same_input: true });
    }
    assert_eq!(scene.all().await.len(), 1);
    scene.assert_sound().await;
}

pub(super) async fn a_started_saga_reads_back_as_it_was_given(scene: Scene) {
    let owner = scene.worker().await;
    let unowned = scene.draft(&order(), Some("order-1"));
    let owned = Draft { owner: Some(owner), wake: None, ..scene.draft(&trip(), None) };
    for draft in [unowned, owned] {
        let (_, new) = draft.build();
        assert_eq!(scene.store.start(new.clone()).await, Ok(StartOutcome::Created));
        let (row, log) = scene.other.load(new.id).await.expect("a read").expect("the saga");
        assert_eq!((row.id, &row.definition, &row.key), (new.id, &new.definition, &new.key));
        assert_eq!((row.seq, row.epoch, row.claims), (new.first.seq, new.first.epoch, 0));
        assert_eq!((row.owner, row.started_at), (new.owner, new.first.at));
        assert_eq!(row.summary, new.summary);
        assert_eq!(log, [new.first]);
        assert_eq!(scene.other.row(new.id).await, Ok(Some(row)));
    }
}

pub(super) async fn a_key_with_other_input_is_told_apart_and_changes_nothing(scene: Scene) {
    let (driven, new) = scene.draft(&order(), Some("order-17")).build();
    assert_eq!(scene.store.start(new).await, Ok(StartOutcome::Created));
    let before = scene.picture(driven.id).await;

    let input = Payload::encode(&17).expect("a number");
    let other = Draft { input, ..scene.draft(&order(), Some("order-17")) };
    let (other, new) = other.build();
    let outcome = StartOutcome::Existing { id: driven.id, same_input: false };
    assert_eq!(scene.store.start(new).await, Ok(outcome));
    assert_eq!(scene.picture(driven.id).await, before);
    assert_eq!(scene.other.row(other.id).await, Ok(None));
    assert_eq!(scene.all().await.len(), 1);
}

pub(super) async fn different_definitions_may_share_a_key(scene: Scene) {
    for spec in [order(), trip()] {
        scene.started(scene.draft(&spec, Some("key"))).await;
    }
    // Another version is the same definition: a start repeated across a deployment is repeated.
    let (_, new) = scene.draft(&definition("order", 2, &["other"]), Some("key")).build();
    let outcome = scene.store.start(new).await.expect("a start");
    assert!(matches!(outcome, StartOutcome::Existing { .. }), "{outcome:?}");
}

pub(super) async fn starts_without_a_key_are_different_sagas(scene: Scene) {
    for _ in 0..3 {
        scene.due().await;
    }
    assert_eq!(scene.all().await.len(), 3);
}

pub(super) async fn a_start_repeated_under_its_own_id_changes_nothing(scene: Scene) {
    let owner = scene.worker().await;
    for key in [None, Some("order-17")] {
        let draft = Draft { owner: Some(owner), wake: None, ..scene.draft(&order(), key) };
        let (mut driven, new) = draft.build();
        assert_eq!(scene.store.start(new.clone()).await, Ok(StartOutcome::Created));
        assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
        let before = scene.picture(driven.id).await;

        let outcome = StartOutcome::Existing { id: driven.id, same_input: true };
        assert_eq!(scene.store.start(new).await, Ok(outcome));
        assert_eq!(scene.picture(driven.id).await, before);
    }
}
