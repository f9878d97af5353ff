//! A store whose every answer has a deadline.
//!
//! A database that hangs must not hang the worker: past the deadline the
//! outcome is unknown, which every caller has to bear anyway.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{
    Append, AppendError, Claim, CommandAnswer, Cursor, Definitions, Feed, FeedEdge, FeedError,
    FeedPage, Inbox, Leases, NewSaga, PublishError, Query, SagaLog, SagaRow, StartOutcome, Store,
    StoreError, SubmitOutcome, WorkerCard, WorkerRow,
};
use saga_core::{
    Command, DefinitionSpec, IdempotencyKey, LogRow, SagaId, Status, Timestamp, WorkerId,
};
use tokio::time::timeout;

/// A store behind a deadline.
pub(crate) struct Punctual {
    store: Arc<dyn Store>,
    answer_max: Duration,
}

impl Punctual {
    /// Puts a deadline of `answer_max` on every call but [`Leases::hinted`], which may wait for ever.
    pub(crate) fn new(store: Arc<dyn Store>, answer_max: Duration) -> Self {
        Self { store, answer_max }
    }

    async fn bound<T, E: From<StoreError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let late = |_| {
            let why = format!("no answer within {} ms", self.answer_max.as_millis());
            Err(StoreError::Unavailable(why).into())
        };
        timeout(self.answer_max, call).await.unwrap_or_else(late)
    }
}

#[async_trait]
impl SagaLog for Punctual {
    fn buckets(&self) -> u16 {
        self.store.buckets()
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        self.bound(self.store.start(saga)).await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        self.bound(self.store.append(append)).await
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        self.bound(self.store.load(id)).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.bound(self.store.row(id)).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.bound(self.store.log(id, after, limit)).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        self.bound(self.store.find(query)).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.bound(self.store.counts()).await
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.bound(self.store.forget(age, limit)).await
    }
}

#[async_trait]
impl Leases for Punctual {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        self.bound(self.store.enlist(worker, ttl)).await
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.bound(self.store.renew(worker, ttl)).await
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.bound(self.store.retire(worker)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        self.bound(self.store.claim(claim)).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.bound(self.store.owned(worker)).await
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.bound(self.store.release(id, worker, epoch, next_wake_at)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.bound(self.store.workers()).await
    }

    async fn hinted(&self) {
        self.store.hinted().await;
    }
}

#[async_trait]
impl Inbox for Punctual {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        self.bound(self.store.submit(id, command)).await
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        self.bound(self.store.pending(worker, limit)).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.bound(self.store.commands(id)).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
    ) -> Result<(), StoreError> {
        self.bound(self.store.answer(id, request_id, answer)).await
    }
}

#[async_trait]
impl Definitions for Punctual {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        self.bound(self.store.publish(spec)).await
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        self.bound(self.store.definition(name, version)).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        self.bound(self.store.versions(name)).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        self.bound(self.store.newest(name)).await
    }
}

#[async_trait]
impl Feed for Punctual {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        self.bound(self.store.feed_edge(edge)).await
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        self.bound(self.store.feed(after, limit)).await
    }
}
