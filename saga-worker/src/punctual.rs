//! A store whose every answer has a deadline.
//!
//! A database that hangs must not hang the worker: past the deadline the
//! outcome is unknown, which every caller has to bear anyway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{
    Append, AppendError, Audit, AuditEntry, AuditOutcome, AuditQuery, Backlog, Claim,
    CommandAnswer, Cursor, Definitions, Feed, FeedEdge, FeedError, FeedPage, Inbox, Leases,
    NewSaga, Owner, PublishError, Query, Register, Registers, SagaLog, SagaRow, StartOutcome,
    Store, StoreError, SubmitOutcome, WorkerCard, WorkerRow,
};
use saga_core::{
    AuditId, Command, DefinitionSpec, IdempotencyKey, LogRow, SagaId, Status, Timestamp, WorkerId,
};
use tokio::time::timeout;

use crate::telemetry::Telemetry;

/// A store behind a deadline.
pub(crate) struct Punctual {
    store: Arc<dyn Store>,
    answer_max: Duration,
    telemetry: Arc<Telemetry>,
}

/// An error that may be the store's, or an answer that the caller has to live with.
trait Failing: From<StoreError> {
    /// Whether the store did not do its work.
    fn is_failure(&self) -> bool;
}

impl Failing for StoreError {
    fn is_failure(&self) -> bool {
        true
    }
}

impl Failing for AppendError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl Failing for FeedError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl Failing for PublishError {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

impl Punctual {
    /// Puts a deadline of `answer_max` on every call but [`Leases::hinted`], which may wait for ever.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        answer_max: Duration,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self { store, answer_max, telemetry }
    }

    async fn bound<T, E: Failing>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let late = |_| {
            let why = format!("no answer within {} ms", self.answer_max.as_millis());
            Err(StoreError::Unavailable(why).into())
        };
        let answer = timeout(self.answer_max, call).await.unwrap_or_else(late);
        if answer.as_ref().is_err_and(E::is_failure) {
            self.telemetry.store_failed(operation);
        }
        answer
    }
}

#[async_trait]
impl SagaLog for Punctual {
    fn buckets(&self) -> u16 {
        self.store.buckets()
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        self.bound("start", self.store.start(saga)).await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        self.bound("append", self.store.append(append)).await
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        self.bound("load", self.store.load(id)).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.bound("row", self.store.row(id)).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.bound("log", self.store.log(id, after, limit)).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        self.bound("find", self.store.find(query)).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.bound("counts", self.store.counts()).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.bound("backlog", self.store.backlog()).await
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.bound("forget", self.store.forget(age, limit)).await
    }
}

#[async_trait]
impl Leases for Punctual {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        self.bound("enlist", self.store.enlist(worker, ttl)).await
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.bound("renew", self.store.renew(worker, ttl)).await
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.bound("retire", self.store.retire(worker)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        self.bound("claim", self.store.claim(claim)).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.bound("owned", self.store.owned(worker)).await
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.bound("release", self.store.release(id, worker, epoch, next_wake_at)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.bound("workers", self.store.workers()).await
    }

    async fn hinted(&self) {
        self.store.hinted().await;
    }
}

#[async_trait]
impl Inbox for Punctual {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        self.bound("submit", self.store.submit(id, command)).await
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        self.bound("pending", self.store.pending(worker, limit)).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.bound("commands", self.store.commands(id)).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        self.bound("answer", self.store.answer(id, request_id, answer, by)).await
    }
}

#[async_trait]
impl Definitions for Punctual {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        self.bound("publish", self.store.publish(spec)).await
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        self.bound("definition", self.store.definition(name, version)).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        self.bound("versions", self.store.versions(name)).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        self.bound("newest", self.store.newest(name)).await
    }
}

#[async_trait]
impl Registers for Punctual {
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError> {
        self.bound("register", self.store.register(name)).await
    }

    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError> {
        self.bound("registers", self.store.registers(prefix)).await
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError> {
        self.bound("set_register", self.store.set_register(name, expected, value)).await
    }

    async fn remove_register(&self, name: &str) -> Result<(), StoreError> {
        self.bound("remove_register", self.store.remove_register(name)).await
    }
}

#[async_trait]
impl Audit for Punctual {
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.bound("record_audit", self.store.record_audit(entry)).await
    }

    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError> {
        self.bound("settle_audit", self.store.settle_audit(id, outcome)).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        self.bound("audit", self.store.audit(query)).await
    }

    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.bound("forget_audit", self.store.forget_audit(age, limit)).await
    }
}

#[async_trait]
impl Feed for Punctual {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        self.bound("feed_edge", self.store.feed_edge(edge)).await
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        self.bound("feed", self.store.feed(after, limit)).await
    }
}
