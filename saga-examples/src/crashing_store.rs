//! A store around another one, at whose calls the process can be made to die: before the work is
//! done, and after it, when nobody has been told. It also carries two bugs that can be planted.
//!
//! Only with the feature `crash-points`; what is armed says the environment, see
//! `saga_participant::faults`.

mod archived;
mod unfenced;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use saga_core::store::{
    Append, AppendError, Audit, AuditEntry, AuditOutcome, AuditQuery, Backlog, Claim,
    CommandAnswer, Cursor, Definitions, Feed, FeedEdge, FeedError, FeedPage, Inbox, Leases,
    NewSaga, Owner, PublishError, Query, Register, Registers, SagaLog, SagaRow, StartOutcome,
    Store, StoreError, SubmitOutcome, WorkerCard, WorkerRow,
};
use saga_core::{
    AuditId, Command, DefinitionSpec, IdempotencyKey, LogRow, Refusal, SagaId, Status, Timestamp,
    WorkerId,
};
use saga_participant::faults::{Plant, chance, crash_here, note, planted, stand_still, strikes};

use crate::database::Address;
use unfenced::Unfenced;

/// How long an append or an answer is held up, as in a network that lost and found it. Whoever waits for
/// it gives it up before; where its worker loses the lease meanwhile, it comes when others have the saga.
const HELD_UP: Duration = Duration::from_millis(600);
/// A process that has not yet said that it is ready does not stand still: nobody would notice.
const SETTLED: Duration = Duration::from_millis(300);
/// How often a store that lies says that it has stored what it has not.
const LIES: f64 = 0.02;

/// The store with its crash points.
#[derive(Clone)]
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    unfenced: Unfenced,
    opened: Instant,
}

impl CrashingStore {
    /// Puts crash points around a store, which is at `address`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, address: Address) -> Self {
        let unfenced = Unfenced::new(inner.clone(), address);
        CrashingStore { inner, unfenced, opened: Instant::now() }
    }

    /// Runs a call to its end even where the caller stops waiting: a worker that gives a call up
    /// does not keep the process from dying at the point after it.
    async fn to_the_end<T, E, W>(&self, work: impl FnOnce(CrashingStore) -> W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        W: Future<Output = Result<T, E>> + Send + 'static,
    {
        let done = tokio::spawn(work(self.clone())).await;
        done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string()).into()))
    }
}

impl std::fmt::Debug for CrashingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrashingStore").finish_non_exhaustive()
    }
}

/// A store that lies says at once that it is done.
fn lies() -> bool {
    planted(Plant::CommitLies) && chance(LIES)
}

/// The answer that a store keeps: under a planted bug another one than it was given.
fn told(answer: &CommandAnswer) -> CommandAnswer {
    match answer {
        CommandAnswer::Accepted if planted(Plant::WrongAnswer) => {
            CommandAnswer::Refused(Refusal::NothingToRetry)
        }
        answer => answer.clone(),
    }
}

#[async_trait]
impl SagaLog for CrashingStore {
    fn buckets(&self) -> u16 {
        self.inner.buckets()
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        if lies() {
            return Ok(StartOutcome::Created);
        }
        self.to_the_end(async move |store| {
            crash_here("start.before");
            let outcome = store.inner.start(saga).await;
            crash_here("start.after");
            outcome
        })
        .await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        if lies() {
            return Ok(());
        }
        self.to_the_end(async move |store| {
            crash_here("append.before");
            if strikes("append.late") {
                note("append.late");
                tokio::time::sleep(HELD_UP).await;
            }
            if store.opened.elapsed() > SETTLED && strikes("append.frozen") {
                note("append.frozen");
                stand_still();
            }
            let kept = planted(Plant::NoFence).then(|| append.clone());
            let outcome = store.inner.append(append).await;
            if matches!(outcome, Err(AppendError::Fenced { .. })) {
                note("append.fenced");
            }
            let outcome = match (outcome, kept) {
                (Err(AppendError::Fenced { .. }), Some(append)) => {
                    store.unfenced.append(append).await.map_err(AppendError::from)
                }
                (outcome, _) => outcome,
            };
            crash_here("append.after");
            outcome
        })
        .await
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        self.inner.load(id).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.inner.row(id).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.inner.log(id, after, limit).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        self.inner.find(query).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.inner.counts().await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.inner.backlog().await
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let Some(age) = archived::forgettable(age) else { return Ok(0) };
        self.to_the_end(async move |store| {
            crash_here("forget.before");
            let outcome = store.inner.forget(age, limit).await;
            if outcome.as_ref().is_ok_and(|forgotten| *forgotten > 0) {
                crash_here("forget.after");
            }
            outcome
        })
        .await
    }
}

#[async_trait]
impl Leases for CrashingStore {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        crash_here("enlist.before");
        let outcome = self.inner.enlist(worker, ttl).await;
        crash_here("enlist.after");
        outcome
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        crash_here("renew.before");
        let outcome = self.inner.renew(worker, ttl).await;
        crash_here("renew.after");
        outcome
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        if planted(Plant::KeepsLease) {
            return Ok(());
        }
        crash_here("retire.before");
        let outcome = self.inner.retire(worker).await;
        crash_here("retire.after");
        outcome
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        let claim = claim.clone();
        self.to_the_end(async move |store| {
            crash_here("claim.before");
            let outcome = store.inner.claim(&claim).await;
            if outcome.as_ref().is_ok_and(|rows| !rows.is_empty()) {
                crash_here("claim.after");
            }
            outcome
        })
        .await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.inner.owned(worker).await
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.to_the_end(async move |store| {
            crash_here("release.before");
            let outcome = store.inner.release(id, worker, epoch, next_wake_at).await;
            crash_here("release.after");
            outcome
        })
        .await
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.inner.workers().await
    }

    async fn hinted(&self) {
        self.inner.hinted().await;
    }
}

#[async_trait]
impl Inbox for CrashingStore {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        let command = command.clone();
        self.to_the_end(async move |store| {
            crash_here("submit.before");
            let outcome = store.inner.submit(id, &command).await;
            crash_here("submit.after");
            outcome
        })
        .await
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        self.inner.pending(worker, limit).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.inner.commands(id).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        let (request_id, answer) = (request_id.clone(), told(answer));
        self.to_the_end(async move |store| {
            crash_here("answer.before");
            if strikes("answer.late") {
                note("answer.late");
                tokio::time::sleep(HELD_UP).await;
            }
            let outcome = store.inner.answer(id, &request_id, &answer, by).await;
            crash_here("answer.after");
            outcome
        })
        .await
    }
}

#[async_trait]
impl Definitions for CrashingStore {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        self.inner.publish(spec).await
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        self.inner.definition(name, version).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        self.inner.versions(name).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        self.inner.newest(name).await
    }
}

#[async_trait]
impl Registers for CrashingStore {
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError> {
        self.inner.register(name).await
    }

    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError> {
        self.inner.registers(prefix).await
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError> {
        self.inner.set_register(name, expected, value).await
    }

    async fn remove_register(&self, name: &str) -> Result<(), StoreError> {
        self.inner.remove_register(name).await
    }
}

#[async_trait]
impl Audit for CrashingStore {
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.inner.record_audit(entry).await
    }

    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError> {
        self.inner.settle_audit(id, outcome).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.audit(query).await
    }

    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.inner.forget_audit(age, limit).await
    }
}

#[async_trait]
impl Feed for CrashingStore {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        self.inner.feed_edge(edge).await
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        self.inner.feed(after, limit).await
    }
}
