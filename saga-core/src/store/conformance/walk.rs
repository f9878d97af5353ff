//! A long random walk, side by side with the reference store: everything either of them answers
//! is compared, and what must always hold is checked after each step.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Draft, Driven, FUTURE, LONG, PAST, Scene, command, order, trip};
use crate::store::{
    Append, Claim, CommandAnswer, Inbox as _, Leases as _, NewSaga, Query, SagaLog as _, SagaRow,
    StartOutcome, WorkerCard,
};
use crate::{
    DefinitionRef, ManualClock, MemoryStore, Payload, SagaId, Status, Timestamp, WorkerId,
};

const STEPS: usize = 800;

pub(super) async fn the_store_agrees_with_the_reference_store_on_a_long_random_walk(scene: Scene) {
    let between = Timestamp::from_micros(FUTURE.as_micros() / 2);
    let reference = MemoryStore::new(Arc::new(ManualClock::at(between)));
    let workers = (1..4).map(|n| WorkerId::from_bytes([n; 16])).collect();
    let (sagas, appends) = (Vec::new(), Vec::new());
    let mut walk = Walk { scene, reference, random: 42, workers, sagas, appends };
    for _ in 0..STEPS {
        walk.step().await;
        walk.compare_rows().await;
    }
    walk.compare_the_rest().await;
    walk.scene.assert_sound().await;
}

struct Walk {
    scene: Scene,
    reference: MemoryStore,
    random: u64,
    workers: Vec<WorkerId>,
    /// Each saga as far as its appends have succeeded.
    sagas: Vec<Driven>,
    appends: Vec<Append>,
}

impl Walk {
    /// A number below `below`.
    fn roll(&mut self, below: usize) -> usize {
        // SplitMix64: small, and good enough to wander about.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    async fn step(&mut self) {
        match self.roll(21) {
            0..=3 => self.start().await,
            4..=8 => self.append().await,
            9 => self.repeat_append().await,
            10..=12 => self.claim().await,
            13..=14 => self.release().await,
            15..=16 => self.lease().await,
            17..=18 => self.command().await,
            19 => self.forget().await,
            _ => self.compare_the_rest().await,
        }
    }

    async fn start(&mut self) {
        let enlisted = self.reference.workers().await.expect("the reference");
        let enlisted: Vec<_> = enlisted.iter().map(|worker| Some(worker.card.id)).collect();
        let owner = if enlisted.is_empty() { None } else { self.pick(&enlisted) };
        let owner = self.pick(&[None, owner]);
        let wake = self.pick(&[Some(PAST), Some(FUTURE), None]).filter(|_| owner.is_none());
        let key = self.pick(&[None, None, Some("key-1"), Some("key-2"), Some("key-3")]);
        let input = Payload::encode(&self.roll(2)).expect("a number");
        let spec = self.pick(&[order(), trip()]);
        let draft = Draft { owner, wake, input, ..self.scene.draft(&spec, key) };
        let (driven, new): (Driven, NewSaga) = draft.build();
        let outcome = self.scene.store.start(new.clone()).await;
        assert_eq!(outcome, self.reference.start(new).await);
        if outcome == Ok(StartOutcome::Created) {
            self.sagas.push(driven);
        }
    }

    async fn append(&mut self) {
        let Some((index, row)) = self.some_saga().await else { return };
        let mut driven = self.sagas[index].clone();
        if driven.has_ended() {
            return;
        }
        // Mostly as its owner; now and then as somebody else, or as of another time.
        let owner = self.pick(&self.workers.clone());
        driven.owner = row.owner.filter(|_| !self.random.is_multiple_of(4)).unwrap_or(owner);
        driven.epoch = row.epoch.saturating_sub(u64::from(self.roll(6) == 0));
        let mut append = driven.advance();
        append.release = self.roll(5) == 0;
        if append.release {
            append.summary.next_wake_at = append.summary.ended_at.map_or(Some(PAST), |_| None);
        }
        let outcome = self.scene.store.append(append.clone()).await;
        assert_eq!(outcome, self.reference.append(append.clone()).await);
        if outcome.is_ok() {
            self.sagas[index] = driven;
            self.appends.push(append);
        }
    }

    async fn repeat_append(&mut self) {
        if self.appends.is_empty() {
            return;
        }
        let append = self.pick(&self.appends.clone());
        let there = self.reference.row(append.id).await.expect("the reference").is_some();
        let outcome = self.scene.store.append(append.clone()).await;
        assert_eq!(outcome.is_ok(), there, "what was forgotten takes no append, repeated or not");
        assert_eq!(outcome, self.reference.append(append).await);
    }

    async fn claim(&mut self) {
        let known: [Vec<DefinitionRef>; 3] = [
            vec![order().reference()],
            vec![trip().reference()],
            vec![order().reference(), trip().reference()],
        ];
        let (worker, definitions) = (self.pick(&self.workers.clone()), self.pick(&known));
        let claim = Claim { worker, definitions, limit: 1_000 };
        let ours = self.scene.store.claim(&claim).await.expect("a claim");
        let theirs = self.reference.claim(&claim).await.expect("the reference");
        assert_eq!(comparable(ours), comparable(theirs));
    }

    async fn release(&mut self) {
        let Some((_, row)) = self.some_saga().await else { return };
        let worker = row.owner.unwrap_or(self.workers[0]);
        let epoch = row.epoch + u64::from(self.roll(5) == 0);
        let wake = self.pick(&[Some(PAST), Some(FUTURE)]);
        let ours = self.scene.store.release(row.id, worker, epoch, wake).await;
        assert_eq!(ours, self.reference.release(row.id, worker, epoch, wake).await);
    }

    async fn lease(&mut self) {
        let worker = self.pick(&self.workers.clone());
        let (store, reference) = (&self.scene.store.clone(), &self.reference);
        let card = WorkerCard { id: worker, name: "host/1".into(), definitions: Vec::new() };
        let ttl = [LONG, Duration::ZERO][(self.random % 3 / 2) as usize];
        match self.random / 3 % 6 {
            0 => assert_eq!(store.retire(worker).await, reference.retire(worker).await),
            1 | 2 => assert_eq!(store.renew(worker, ttl).await, reference.renew(worker, ttl).await),
            _ => assert_eq!(store.enlist(&card, ttl).await, reference.enlist(&card, ttl).await),
        }
    }

    async fn command(&mut self) {
        let Some((_, row)) = self.some_saga().await else { return };
        let (number, reason) = (self.roll(3), self.pick(&["one reason", "another"]));
        let asked = command(&format!("request-{number}"), reason);
        if self.roll(3) == 0 {
            let (request, answer) = (&asked.request_id, &CommandAnswer::Accepted);
            let ours = self.scene.store.answer(row.id, request, answer, None).await;
            assert_eq!(ours, self.reference.answer(row.id, request, answer, None).await);
        } else {
            let ours = self.scene.store.submit(row.id, &asked).await;
            assert_eq!(ours, self.reference.submit(row.id, &asked).await);
        }
    }

    /// All at once, because of those that ended at the same moment any may be the first to leave.
    async fn forget(&mut self) {
        let age = self.pick(&[Duration::ZERO, Duration::MAX]);
        let ours = self.scene.store.forget(age, 1_000).await;
        assert_eq!(ours, self.reference.forget(age, 1_000).await);
    }

    /// One of the sagas, and its row by the reference store.
    async fn some_saga(&mut self) -> Option<(usize, SagaRow)> {
        let index = self.roll(self.sagas.len().max(1));
        let id: SagaId = self.sagas.get(index)?.id;
        Some((index, self.reference.row(id).await.expect("the reference")?))
    }

    async fn compare_rows(&self) {
        let query = Query { limit: 500, ..Query::default() };
        let theirs = self.reference.find(&query).await.expect("the reference");
        let ours = self.scene.other.find(&query).await.expect("a page");
        assert_eq!(comparable(ours), comparable(theirs));
    }

    async fn compare_the_rest(&mut self) {
        let (store, reference) = (&self.scene.other, &self.reference);
        for driven in &self.sagas {
            let ours = store.load(driven.id).await.expect("a read").map(|(_, log)| log);
            let theirs = reference.load(driven.id).await.expect("the reference");
            assert_eq!(ours, theirs.map(|(_, log)| log));
            assert_eq!(store.commands(driven.id).await, reference.commands(driven.id).await);
        }
        for worker in &self.workers {
            let ours = store.owned(*worker).await.expect("a read");
            assert_eq!(
                comparable(ours),
                comparable(reference.owned(*worker).await.expect("the reference"))
            );
            let ours = store.pending(*worker, 1_000).await.expect("a read");
            assert_eq!(ours, reference.pending(*worker, 1_000).await.expect("the reference"));
        }
        let cards = |rows: Vec<crate::store::WorkerRow>| -> Vec<_> {
            rows.into_iter().map(|row| (row.card, row.expired)).collect()
        };
        let ours = cards(store.workers().await.expect("a read"));
        assert_eq!(ours, cards(reference.workers().await.expect("the reference")));
        let present = |counts: Vec<(Status, u64)>| -> Vec<_> {
            counts.into_iter().filter(|(_, sagas)| *sagas > 0).collect()
        };
        let mut ours = present(store.counts().await.expect("counts"));
        ours.sort_unstable();
        assert_eq!(ours, present(reference.counts().await.expect("the reference")));
    }
}

/// Rows in one order, and without the store's own time in them: a moment before the far future
/// is one that has come.
fn comparable(mut rows: Vec<SagaRow>) -> Vec<SagaRow> {
    for row in &mut rows {
        let wake = &mut row.summary.next_wake_at;
        *wake = wake.map(|at| if at < FUTURE { PAST } else { at });
    }
    rows.sort_unstable_by_key(|row| row.id);
    rows
}
