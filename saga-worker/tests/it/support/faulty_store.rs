//! A store that fails as databases do, around one that never fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
use tokio::sync::Notify;
use tokio::time::sleep;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It fails and nothing was done.
    Before,
    /// It was done, and fails.
    After,
    /// It fails, and is done some time later.
    Late(Duration),
    /// It is done half-way through this time.
    Slow(Duration),
    /// What is there cannot be read.
    Corrupt,
}

type Plan = Box<dyn Fn(&'static str) -> Option<Fault> + Send + Sync>;

/// One worker's access to the shared store.
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    frozen: AtomicBool,
    thawed: Notify,
    calls: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    unfenced: bool,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            plan: Mutex::new(Box::new(|_| None)),
            frozen: AtomicBool::new(false),
            thawed: Notify::new(),
            calls: Mutex::default(),
            faults: Mutex::default(),
            unfenced: false,
        }
    }

    /// The planted bug: an append that is refused is forced in at the end of the log.
    pub(crate) fn without_fence(mut self) -> Self {
        self.unfenced = true;
        self
    }

    /// Decides from now on what goes wrong.
    pub(crate) fn plan(
        &self,
        plan: impl Fn(&'static str) -> Option<Fault> + Send + Sync + 'static,
    ) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// The next `times` calls of `op` go wrong.
    pub(crate) fn fail(&self, op: &'static str, times: u32, fault: Fault) {
        let left = Mutex::new(times);
        self.plan(move |called| {
            let mut left = left.lock().unwrap();
            (called == op && *left > 0).then(|| {
                *left -= 1;
                fault
            })
        });
    }

    /// Nothing works until [`FaultyStore::heal`].
    pub(crate) fn go_down(&self) {
        self.plan(|_| Some(Fault::Before));
    }

    pub(crate) fn heal(&self) {
        self.plan(|_| None);
    }

    /// Calls hang until [`FaultyStore::thaw`].
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::SeqCst);
        self.thawed.notify_waiters();
    }

    /// How often each method was called.
    pub(crate) fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.calls.lock().unwrap().clone()
    }

    /// How often each method went wrong, and how often an append was `fenced`.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.faults.lock().unwrap().clone()
    }

    fn count(&self, what: &'static str) {
        *self.faults.lock().unwrap().entry(what).or_default() += 1;
    }

    async fn through<T, E, Fut>(
        &self,
        op: &'static str,
        call: impl FnOnce(Arc<dyn Store>) -> Fut + Send,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        *self.calls.lock().unwrap().entry(op).or_default() += 1;
        let call = call(self.inner.clone());
        while self.frozen.load(Ordering::SeqCst) {
            // Waiters are woken in the order in which they came, so that runs are repeatable.
            self.thawed.notified().await;
        }
        let fault = self.plan.lock().unwrap()(op);
        if fault.is_some() {
            self.count(op);
        }
        match fault {
            None => return call.await,
            Some(Fault::Before) => {}
            Some(Fault::Corrupt) => {
                return Err(StoreError::Corrupt(format!("{op} found nonsense")).into());
            }
            Some(Fault::After) => drop(call.await),
            Some(Fault::Late(delay)) => {
                tokio::spawn(async move {
                    sleep(delay).await;
                    drop(call.await);
                });
            }
            Some(Fault::Slow(time)) => {
                sleep(time / 2).await;
                let answer = call.await;
                sleep(time / 2).await;
                return answer;
            }
        }
        Err(StoreError::Unavailable(format!("{op} went wrong on purpose")).into())
    }

    /// Puts the events of a refused append behind whatever stands there by now.
    async fn force(&self, append: Append) -> Result<(), AppendError> {
        let Some((row, log)) = self.inner.load(append.id).await? else { return Ok(()) };
        let (Some(owner), Some(last)) = (row.owner, log.last()) else { return Ok(()) };
        let events = append.row.decode().expect("a worker writes readable rows").events;
        let row = last.head().seal(row.epoch, append.row.at, &events);
        self.inner.append(Append { owner, row, ..append }).await
    }
}

#[async_trait]
impl SagaLog for FaultyStore {
    fn buckets(&self) -> u16 {
        self.inner.buckets()
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        self.through("start", |inner| async move { inner.start(saga).await }).await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let again = append.clone();
        let answer =
            self.through("append", |inner| async move { inner.append(append).await }).await;
        if let Err(AppendError::Fenced { .. }) = answer {
            self.count("fenced");
            if self.unfenced {
                return self.force(again).await;
            }
        }
        answer
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        self.through("load", |inner| async move { inner.load(id).await }).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.through("row", |inner| async move { inner.row(id).await }).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.through("log", |inner| async move { inner.log(id, after, limit).await }).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        let query = query.clone();
        self.through("find", |inner| async move { inner.find(&query).await }).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.through("counts", |inner| async move { inner.counts().await }).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.through("backlog", |inner| async move { inner.backlog().await }).await
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.through("forget", |inner| async move { inner.forget(age, limit).await }).await
    }
}

#[async_trait]
impl Leases for FaultyStore {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        let worker = worker.clone();
        self.through("enlist", |inner| async move { inner.enlist(&worker, ttl).await }).await
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.through("renew", |inner| async move { inner.renew(worker, ttl).await }).await
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.through("retire", |inner| async move { inner.retire(worker).await }).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        let claim = claim.clone();
        self.through("claim", |inner| async move { inner.claim(&claim).await }).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.through("owned", |inner| async move { inner.owned(worker).await }).await
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let call = |inner: Arc<dyn Store>| async move {
            inner.release(id, worker, epoch, next_wake_at).await
        };
        self.through("release", call).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.through("workers", |inner| async move { inner.workers().await }).await
    }

    async fn hinted(&self) {
        self.inner.hinted().await;
    }
}

#[async_trait]
impl Inbox for FaultyStore {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        let command = command.clone();
        self.through("submit", |inner| async move { inner.submit(id, &command).await }).await
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        self.through("pending", |inner| async move { inner.pending(worker, limit).await }).await
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        self.through("commands", |inner| async move { inner.commands(id).await }).await
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        let (request_id, answer) = (request_id.clone(), answer.clone());
        let call =
            |inner: Arc<dyn Store>| async move { inner.answer(id, &request_id, &answer, by).await };
        self.through("answer", call).await
    }
}

#[async_trait]
impl Definitions for FaultyStore {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        let spec = spec.clone();
        self.through("publish", |inner| async move { inner.publish(&spec).await }).await
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        let name = name.to_owned();
        self.through("definition", |inner| async move { inner.definition(&name, version).await })
            .await
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        let name = name.to_owned();
        self.through("versions", |inner| async move { inner.versions(&name).await }).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        let name = name.to_owned();
        self.through("newest", |inner| async move { inner.newest(&name).await }).await
    }
}

#[async_trait]
impl Registers for FaultyStore {
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError> {
        let name = name.to_owned();
        self.through("register", |inner| async move { inner.register(&name).await }).await
    }

    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError> {
        let prefix = prefix.to_owned();
        self.through("registers", |inner| async move { inner.registers(&prefix).await }).await
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let set = |inner: Arc<dyn Store>| async move {
            inner.set_register(&name, expected, &value).await
        };
        self.through("set_register", set).await
    }

    async fn remove_register(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        let remove = |inner: Arc<dyn Store>| async move { inner.remove_register(&name).await };
        self.through("remove_register", remove).await
    }
}

#[async_trait]
impl Audit for FaultyStore {
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let entry = entry.clone();
        self.through("record_audit", |inner| async move { inner.record_audit(&entry).await }).await
    }

    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError> {
        let outcome = outcome.clone();
        let settle = |inner: Arc<dyn Store>| async move { inner.settle_audit(id, &outcome).await };
        self.through("settle_audit", settle).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let query = query.clone();
        self.through("audit", |inner| async move { inner.audit(&query).await }).await
    }

    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let forget = |inner: Arc<dyn Store>| async move { inner.forget_audit(age, limit).await };
        self.through("forget_audit", forget).await
    }
}

#[async_trait]
impl Feed for FaultyStore {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        self.through("feed_edge", |inner| async move { inner.feed_edge(edge).await }).await
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        self.through("feed", |inner| async move { inner.feed(after, limit).await }).await
    }
}
