//! Callers that go away: what they asked for is there whole or not at all, and may be repeated.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::retention::{assert_gone, ended_at};
use super::scene::{Draft, FUTURE, LONG, PAST, Scene, assert_whole, command, order};
use crate::store::{Claim, CommandAnswer, Query, SagaRow, StartOutcome, SubmitOutcome};
use crate::{SagaId, WorkerId};

/// Callers go away after this many polls: before anything began, in the midst, after the end.
const POLLS: std::ops::Range<usize> = 0..4;

/// How often each is tried, because where the store stands after so many polls varies.
const ROUNDS: usize = 8;

/// Polls a future at most so many times, then drops it.
async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn moments() -> impl Iterator<Item = usize> {
    (0..ROUNDS).flat_map(|_| POLLS)
}

pub(super) async fn a_dropped_start_is_there_whole_or_not_at_all(scene: Scene) {
    let owner = scene.worker().await;
    for polls in moments() {
        let draft = Draft { owner: Some(owner), wake: None, ..scene.draft(&order(), None) };
        let (mut driven, new) = draft.build();
        drop_after(polls, scene.store.start(new.clone())).await;
        assert_whole(&scene.picture(driven.id).await);
        let again = scene.store.start(new).await;
        let known = Ok(StartOutcome::Existing { id: driven.id, same_input: true });
        assert!(again == Ok(StartOutcome::Created) || again == known, "{again:?}");
        assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
        assert_whole(&scene.picture(driven.id).await);
    }
}

pub(super) async fn a_dropped_append_is_there_whole_or_not_at_all(scene: Scene) {
    let owner = scene.worker().await;
    for polls in moments() {
        let mut driven = scene.owned(owner).await;
        while !driven.has_ended() {
            let append = driven.advance();
            drop_after(polls, scene.store.append(append.clone())).await;
            assert_whole(&scene.picture(driven.id).await);
            assert_eq!(scene.store.append(append.clone()).await, Ok(()));
            let (row, log) = scene.other.load(driven.id).await.expect("a read").expect("the saga");
            assert_eq!((row.seq, row.summary), (append.row.seq, append.summary));
            assert_eq!(log.last(), Some(&append.row));
        }
        assert_whole(&scene.picture(driven.id).await);
    }
}

pub(super) async fn a_dropped_claim_is_there_whole_or_not_at_all(scene: Scene) {
    let worker = scene.worker().await;
    let claim = Claim { worker, definitions: vec![order().reference()], limit: 10 };
    for polls in moments() {
        let id = scene.due().await.id;
        drop_after(polls, scene.store.claim(&claim)).await;
        let row = owned_or_claimed(&scene, worker, id).await;
        assert_eq!((row.epoch, row.claims), (1, 1), "the epoch was granted once");
        assert_eq!(scene.row(id).await, row);
        assert_eq!(scene.store.release(id, worker, 1, None).await, Ok(()));
    }
}

/// The saga as the worker owns it: by the claim that was dropped, which may still be under way,
/// or else by another.
async fn owned_or_claimed(scene: &Scene, worker: WorkerId, id: SagaId) -> SagaRow {
    for _ in 0..100 {
        let mut rows = scene.other.owned(worker).await.expect("a read");
        rows.extend(scene.claim(worker).await);
        if let Some(row) = rows.into_iter().find(|row| row.id == id) {
            return row;
        }
    }
    panic!("saga {id} is neither owned nor to be claimed");
}

pub(super) async fn a_dropped_release_or_retirement_is_there_whole_or_not_at_all(scene: Scene) {
    for polls in moments() {
        let worker = scene.worker().await;
        let (first, second) = (scene.owned(worker).await, scene.owned(worker).await);
        let release = || scene.store.release(first.id, worker, first.epoch, Some(PAST));
        drop_after(polls, release()).await;
        assert_whole(&scene.picture(first.id).await);
        assert_eq!(release().await, Ok(()));
        assert_eq!(scene.row(first.id).await.owner, None);

        drop_after(polls, scene.store.retire(worker)).await;
        assert_whole(&scene.picture(second.id).await);
        assert_eq!(scene.store.retire(worker).await, Ok(()));
        assert_eq!(scene.row(second.id).await.owner, None);
        assert_eq!(scene.store.renew(worker, LONG).await, Ok(false));
    }
}

pub(super) async fn a_dropped_command_or_answer_is_there_whole_or_not_at_all(scene: Scene) {
    let asked = command("request-1", "go on");
    for polls in moments() {
        let draft = Draft { wake: Some(FUTURE), ..scene.draft(&order(), None) };
        let id = scene.started(draft).await.id;
        drop_after(polls, scene.store.submit(id, &asked)).await;
        assert_eq!(scene.store.submit(id, &asked).await, Ok(SubmitOutcome::Queued));
        assert_eq!(scene.other.commands(id).await, Ok(vec![asked.clone()]));
        let wake = scene.row(id).await.summary.next_wake_at;
        assert!(wake.is_some_and(|wake| wake < FUTURE), "the saga is due");

        let answer = CommandAnswer::Accepted;
        drop_after(polls, scene.store.answer(id, &asked.request_id, &answer, None)).await;
        assert_eq!(scene.store.answer(id, &asked.request_id, &answer, None).await, Ok(()));
        let outcome = scene.store.submit(id, &asked).await;
        assert_eq!(outcome, Ok(SubmitOutcome::Answered(answer)));
    }
}

pub(super) async fn a_dropped_forgetting_is_there_whole_or_not_at_all(scene: Scene) {
    let asked = command("request-1", "too late");
    for polls in moments() {
        let id = ended_at(&scene, None, PAST).await.id;
        assert_eq!(scene.store.submit(id, &asked).await, Ok(SubmitOutcome::Queued));
        drop_after(polls, scene.store.forget(Duration::ZERO, 10)).await;
        assert_whole(&scene.picture(id).await);
        let again = scene.store.forget(Duration::ZERO, 10).await;
        assert!(again == Ok(1) || again == Ok(0), "{again:?}");
        assert_gone(&scene, id).await;
    }
}

pub(super) async fn dropped_reads_leave_the_store_usable(scene: Scene) {
    let owner = scene.worker().await;
    let mut driven = scene.owned(owner).await;
    let id = driven.id;
    for polls in moments() {
        drop_after(polls, scene.store.load(id)).await;
        drop_after(polls, scene.store.find(&Query::default())).await;
        drop_after(polls, scene.store.counts()).await;
        drop_after(polls, scene.store.pending(owner, 10)).await;
        // A hint may never come, so it is not waited for.
        drop_after(polls.min(1), scene.store.hinted()).await;
    }
    assert_eq!(scene.store.append(driven.advance()).await, Ok(()));
    for store in [&scene.store, &scene.other] {
        let (row, log) = store.load(id).await.expect("a read").expect("the saga");
        assert_eq!((row.seq, log.len()), (2, 2), "later reads see later writes");
    }
}
