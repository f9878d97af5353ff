//! What the facts play with: two handles on one store, workers, and sagas that really run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::{
    Append, AppendError, Claim, NewSaga, Query, SagaRow, StartOutcome, Summary, WorkerCard,
};
use crate::{
    Assume, Bucket, Command, CommandAction, Definition, DefinitionSpec, Digest, Failure,
    IdempotencyKey, LogRow, Next, Op, Payload, PlannedCall, Saga, SagaId, StartRequest, Status,
    Step, StepIndex, Stimulus, Store, Timestamp, WorkerId,
};

/// Long ago for the clock of any store.
pub(super) const PAST: Timestamp = Timestamp::from_micros(1);

/// Far ahead for the clock of any store: in the year 2200.
pub(super) const FUTURE: Timestamp = Timestamp::from_micros(7_258_118_400_000_000);

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(3_600);

/// An empty store, seen through two handles.
pub(super) struct Scene {
    /// The handle that acts.
    pub(super) store: Arc<dyn Store>,
    /// The handle that looks, as another process would.
    pub(super) other: Arc<dyn Store>,
    numbers: AtomicU64,
}

/// Everything there is to see of one saga.
pub(super) type Picture = (Option<(SagaRow, Vec<LogRow>)>, Vec<Command>);

impl Scene {
    pub(super) fn new(store: Arc<dyn Store>, other: Arc<dyn Store>) -> Self {
        Self { store, other, numbers: AtomicU64::new(1) }
    }

    /// A saga of this definition with everything ready for its start.
    pub(super) fn draft(&self, spec: &Arc<DefinitionSpec>, key: Option<&str>) -> Draft {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let text = key.map_or_else(|| number.to_string(), str::to_owned);
        let bucket = Bucket::of(&text, self.store.buckets());
        let id = SagaId::new(1_800_000_000_000 + number, u128::from(number) << 16, bucket);
        let key = key.map(|key| IdempotencyKey::new(key).expect("a short key"));
        Draft { id, spec: spec.clone(), key, input: Payload::null(), owner: None, wake: Some(PAST) }
    }

    /// A live worker that knows nothing in particular.
    pub(super) async fn worker(&self) -> WorkerId {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let worker = WorkerId::from_bytes(u128::from(number).to_be_bytes());
        self.lease(worker, LONG).await;
        worker
    }

    /// Ends a worker's lease on the spot, by giving it one of no length.
    pub(super) async fn expire(&self, worker: WorkerId) {
        self.lease(worker, Duration::ZERO).await;
    }

    async fn lease(&self, worker: WorkerId, ttl: Duration) {
        let card = WorkerCard { id: worker, name: "host/1".into(), definitions: Vec::new() };
        self.store.enlist(&card, ttl).await.expect("a worker enlists");
    }

    /// A started saga of the definition `order` that belongs to this worker.
    pub(super) async fn owned(&self, owner: WorkerId) -> Driven {
        let draft = Draft { owner: Some(owner), wake: None, ..self.draft(&order(), None) };
        self.started(draft).await
    }

    /// A started saga of the definition `order` that anybody may claim.
    pub(super) async fn due(&self) -> Driven {
        self.started(self.draft(&order(), None)).await
    }

    pub(super) async fn started(&self, draft: Draft) -> Driven {
        let (driven, new) = draft.build();
        assert_eq!(self.store.start(new).await, Ok(StartOutcome::Created));
        driven
    }

    /// Claims whatever of the definition `order` is there to be claimed.
    pub(super) async fn claim(&self, worker: WorkerId) -> Vec<SagaRow> {
        let claim = Claim { worker, definitions: vec![order().reference()], limit: 1_000 };
        self.store.claim(&claim).await.expect("a claim")
    }

    pub(super) async fn row(&self, id: SagaId) -> SagaRow {
        self.other.row(id).await.expect("a read").expect("the saga exists")
    }

    /// All there is to see of a saga from outside.
    pub(super) async fn picture(&self, id: SagaId) -> Picture {
        let seen = self.other.load(id).await.expect("a read");
        (seen, self.other.commands(id).await.expect("a read"))
    }

    /// Asserts what must hold of every state row and every log at any moment.
    pub(super) async fn assert_sound(&self) {
        let workers = self.other.workers().await.expect("a read");
        let enlisted = |id| workers.iter().any(|worker| worker.card.id == id);
        for row in self.all().await {
            let Summary { status, next_wake_at, wait, ended_at } = &row.summary;
            let (alive, owned) = (status.is_alive(), row.owner.is_some());
            assert_eq!(alive, ended_at.is_none(), "an end has a time: {row:?}");
            assert!(row.owner.is_none_or(enlisted), "an owner has enlisted: {row:?}");
            assert!(alive || !owned, "nobody owns what has ended: {row:?}");
            assert!(alive || next_wake_at.is_none(), "nothing wakes what has ended: {row:?}");
            let in_hand = owned || next_wake_at.is_some() || *status == Status::Stuck;
            assert!(!alive || in_hand || wait.is_some(), "no live saga is forgotten: {row:?}");
            assert_whole(&self.picture(row.id).await);
        }
    }

    /// Every state row, newest first.
    pub(super) async fn all(&self) -> Vec<SagaRow> {
        let mut rows: Vec<SagaRow> = Vec::new();
        loop {
            let before = rows.last().map(|row| row.id);
            let query = Query { before, limit: 500, ..Query::default() };
            let page = self.other.find(&query).await.expect("a page");
            if page.is_empty() {
                return rows;
            }
            assert!(page.iter().all(|row| before.is_none_or(|before| row.id < before)));
            rows.extend(page);
        }
    }
}

/// Asserts that a log is a log of its saga, without gaps, and that the state row stands at its end.
pub(super) fn assert_whole((seen, _): &Picture) {
    let Some((row, log)) = seen else { return };
    let spec = [order(), trip()].into_iter().find(|spec| spec.reference() == row.definition);
    let saga = Saga::replay(row.id, spec.expect("a definition of the suite"), log);
    let saga =
        saga.unwrap_or_else(|error| panic!("the log of {} does not replay: {error}", row.id));
    assert_eq!(saga.head().seq, row.seq, "the state row stands at the end of the log");
    assert!(row.epoch >= saga.head().epoch, "no log row is ahead of the owner's epoch");
}

/// A saga about to be started.
pub(super) struct Draft {
    pub(super) id: SagaId,
    pub(super) spec: Arc<DefinitionSpec>,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) input: Payload,
    pub(super) owner: Option<WorkerId>,
    pub(super) wake: Option<Timestamp>,
}

impl Draft {
    /// The saga, and what its store is told.
    pub(super) fn build(self) -> (Driven, NewSaga) {
        let Self { id, spec, key, input, owner, wake } = self;
        let at = Timestamp::from_micros(1_000);
        let input_digest = Digest::of(&[input.as_json().as_bytes()]);
        let request = StartRequest { input, key: key.clone(), traceparent: None, by: None };
        let (mut saga, events) = Saga::start(id, spec.clone(), at, request);
        let epoch = u64::from(owner.is_some());
        let first = saga.seal(epoch, at, &events);
        let driven = Driven { id, owner: owner.unwrap_or(nobody()), epoch, at, saga };
        let summary = Summary { next_wake_at: wake, ..driven.summary() };
        let definition = spec.reference();
        (driven, NewSaga { id, definition, key, input_digest, first, summary, owner })
    }
}

/// A saga together with the worker that drives it.
#[derive(Clone, Debug)]
pub(super) struct Driven {
    pub(super) id: SagaId,
    pub(super) owner: WorkerId,
    pub(super) epoch: u64,
    at: Timestamp,
    saga: Saga,
}

impl Driven {
    /// Goes on under the ownership that a claim has given.
    pub(super) fn taken(&mut self, rows: &[SagaRow]) {
        let row = rows.iter().find(|row| row.id == self.id).expect("the saga was claimed");
        (self.owner, self.epoch) = (row.owner.expect("a claimed saga has an owner"), row.epoch);
    }

    /// The next transition on the way to a good end: an intent or an answer.
    pub(super) fn advance(&mut self) -> Append {
        let stimulus = match self.saga.next(self.at) {
            Next::Call(calls) => Stimulus::Dispatch(calls[0]),
            _ => Stimulus::Answer { call: self.in_flight(), result: Ok(Payload::null()) },
        };
        self.go(stimulus)
    }

    /// The transition into being stuck: as if the pivot's attempts were spent. Takes three more.
    pub(super) fn into_stuck(mut self) -> (Self, Vec<Append>) {
        let mut appends = vec![self.advance(), self.advance(), self.advance()];
        appends.push(self.go(Stimulus::WorkerLost { losses_max: 1 }));
        (self, appends)
    }

    /// Whether the saga has its verdict.
    pub(super) fn has_ended(&self) -> bool {
        self.saga.ended().is_some()
    }

    fn in_flight(&self) -> PlannedCall {
        let flying = self.saga.steps().iter().position(|step| step.in_flight());
        let step = u16::try_from(flying.expect("a call is in flight")).expect("few steps");
        PlannedCall { step: StepIndex(step), op: Op::Action }
    }

    fn go(&mut self, stimulus: Stimulus) -> Append {
        self.at = self.at.after(Duration::from_micros(1));
        let events = self.saga.advance(self.at, stimulus).expect("a legal transition");
        let row = self.saga.seal(self.epoch, self.at, &events);
        Append { id: self.id, owner: self.owner, row, summary: self.summary(), release: false }
    }

    fn summary(&self) -> Summary {
        Summary {
            status: self.saga.status(),
            next_wake_at: None,
            wait: self.saga.wait(self.at),
            ended_at: self.saga.ended().map(|(at, _)| *at),
        }
    }
}

/// Asserts that an append was refused because the saga is not the caller's any more.
pub(super) fn assert_fenced(result: Result<(), AppendError>, append: &Append) {
    let (id, epoch, seq) = (append.id, append.row.epoch, append.row.seq);
    assert_eq!(result, Err(AppendError::Fenced { id, epoch, seq }));
}

/// A worker that never enlists.
pub(super) fn nobody() -> WorkerId {
    WorkerId::from_bytes([0xee; 16])
}

pub(super) fn order() -> Arc<DefinitionSpec> {
    definition("order", 1, &["reserve-stock"])
}

pub(super) fn trip() -> Arc<DefinitionSpec> {
    definition("trip", 1, &["book-room", "book-flight"])
}

/// Compensatable steps of these names and a pivot.
pub(super) fn definition(name: &str, version: u32, steps: &[&str]) -> Arc<DefinitionSpec> {
    async fn work() -> Result<(), Failure> {
        Ok(())
    }
    let steps = steps.iter().map(|step| Step::compensatable(*step, work, work));
    let steps = steps.chain([Step::pivot("capture-payment", work)]);
    let definition = Definition::builder(name).version(version).stages(steps).build();
    definition.expect("a sound definition").spec().clone()
}

pub(super) fn command(request_id: &str, reason: &str) -> Command {
    Command {
        request_id: IdempotencyKey::new(request_id).expect("a short key"),
        actor: "ops".into(),
        reason: reason.into(),
        action: CommandAction::Skip {
            step: "reserve-stock".into(),
            assume: Assume::Processed(Payload::null()),
        },
        expected_seq: None,
    }
}
