//! The reference store: everything in one locked value. The default in tests.

mod audit;
mod feed;
mod registers;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Append, AppendError, AuditEntry, Backlog, Claim, CommandAnswer, Definitions, Inbox, Leases,
    NewSaga, Owner, PublishError, Query, Register, SagaLog, SagaRow, StartOutcome, StoreError,
    SubmitOutcome, WorkerCard, WorkerRow,
};
use crate::command::Command;
use crate::definition::DefinitionSpec;
use crate::digest::Digest;
use crate::id::{AuditId, IdempotencyKey, SagaId, WorkerId};
use crate::log::LogRow;
use crate::saga::{Status, WaitReason};
use crate::time::{Clock, Timestamp};

/// A store in memory: nothing survives the process.
///
/// It keeps every promise of the port but durability, and its clock can be a
/// [`crate::ManualClock`], so tests with leases and delays need not wait.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    buckets: u16,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sagas: BTreeMap<SagaId, Record>,
    keys: HashMap<(String, IdempotencyKey), SagaId>,
    workers: BTreeMap<WorkerId, (WorkerCard, Timestamp)>,
    definitions: BTreeMap<(String, u32), DefinitionSpec>,
    feed: feed::Order,
    registers: BTreeMap<String, Register>,
    audit: BTreeMap<AuditId, AuditEntry>,
}

struct Record {
    row: SagaRow,
    input_digest: Digest,
    log: Vec<LogRow>,
    commands: Vec<(Command, Option<CommandAnswer>)>,
    /// When each of them was submitted.
    submitted: Vec<Timestamp>,
}

impl Record {
    /// Ends the ownership. A live saga with an unanswered command is due at once: the command
    /// may have arrived after its owner last looked.
    fn let_go(&mut self, now: Timestamp) {
        (self.row.owner, self.row.claims) = (None, 0);
        let unanswered = self.commands.iter().any(|(_, answer)| answer.is_none());
        if unanswered && self.row.summary.status.is_alive() {
            self.row.summary.next_wake_at = Some(now);
        }
    }
}

impl MemoryStore {
    /// An empty store of 16 buckets that reads the time from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        // Two stores of one process begin at different moments, or hold the same.
        let feed = feed::Order::new(clock.now());
        Self { clock, buckets: 16, state: Mutex::new(State { feed, ..State::default() }) }
    }

    /// The lock is held for a few map operations and never across an await; a
    /// panic inside leaves no half-done change, because each method checks first.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("sagas", &self.state().sagas.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SagaLog for MemoryStore {
    fn buckets(&self) -> u16 {
        self.buckets
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        let mut state = self.state();
        let key = saga.key.clone().map(|key| (saga.definition.name.clone(), key));
        let with_key = key.as_ref().and_then(|key| state.keys.get(key).copied());
        let existing = with_key.or_else(|| state.sagas.contains_key(&saga.id).then_some(saga.id));
        if let Some(id) = existing {
            let same_input = state.sagas[&id].input_digest == saga.input_digest;
            return Ok(StartOutcome::Existing { id, same_input });
        }
        if let Some(key) = key {
            state.keys.insert(key, saga.id);
        }
        let row = SagaRow {
            id: saga.id,
            definition: saga.definition,
            key: saga.key,
            seq: saga.first.seq,
            epoch: saga.first.epoch,
            owner: saga.owner,
            claims: 0,
            started_at: saga.first.at,
            summary: saga.summary,
        };
        let record = Record {
            row,
            input_digest: saga.input_digest,
            log: vec![saga.first],
            commands: Vec::new(),
            submitted: Vec::new(),
        };
        state.feed.push(saga.id, record.row.seq, record.row.summary.status);
        state.sagas.insert(saga.id, record);
        Ok(StartOutcome::Created)
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let Append { id, owner, row, summary, release } = append;
        let State { sagas, feed, .. } = &mut *self.state();
        let fenced = AppendError::Fenced { id, epoch: row.epoch, seq: row.seq };
        let Some(record) = sagas.get_mut(&id) else { return Err(fenced) };
        if record.log.contains(&row) {
            return Ok(());
        }
        let ours = record.row.owner == Some(owner) && record.row.epoch == row.epoch;
        if !ours || record.row.seq + 1 != row.seq {
            return Err(fenced);
        }
        feed.push(id, row.seq, summary.status);
        (record.row.seq, record.row.claims, record.row.summary) = (row.seq, 0, summary);
        record.log.push(row);
        if release || !record.row.summary.status.is_alive() {
            record.let_go(self.clock.now());
        }
        Ok(())
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        let state = self.state();
        Ok(state.sagas.get(&id).map(|record| (record.row.clone(), record.log.clone())))
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        Ok(self.state().sagas.get(&id).map(|record| record.row.clone()))
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let state = self.state();
        let log = state.sagas.get(&id).map(|record| record.log.iter()).into_iter().flatten();
        Ok(log.filter(|row| row.seq > after).take(limit as usize).cloned().collect())
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        let state = self.state();
        let newest_first = state.sagas.values().rev().map(|record| &record.row);
        let matching = newest_first.filter(|row| {
            query.before.is_none_or(|before| row.id < before)
                && (query.statuses.is_empty() || query.statuses.contains(&row.summary.status))
                && query.name.as_ref().is_none_or(|name| row.definition.name == *name)
                && query.key.as_ref().is_none_or(|key| row.key.as_ref() == Some(key))
        });
        Ok(matching.take(query.page() as usize).cloned().collect())
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        let state = self.state();
        let mut counts: BTreeMap<Status, u64> = BTreeMap::new();
        for record in state.sagas.values() {
            *counts.entry(record.row.summary.status).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let (state, at) = (self.state(), self.clock.now());
        let mut backlog = Backlog { at, ..Backlog::default() };
        let mut stuck: BTreeMap<String, u64> = BTreeMap::new();
        let earlier = |one: Option<Timestamp>, other| Some(one.map_or(other, |at| at.min(other)));
        for record in state.sagas.values() {
            let SagaRow { owner, summary, .. } = &record.row;
            if let (None, Some(wake)) = (owner, summary.next_wake_at.filter(|wake| *wake <= at)) {
                backlog.due += 1;
                backlog.due_since = earlier(backlog.due_since, wake);
            }
            if let (None, Status::Stuck) = (owner, summary.status) {
                let code = match &summary.wait {
                    Some(WaitReason::Stuck { code, .. }) => code.as_str(),
                    _ => "unreadable",
                };
                *stuck.entry(code.to_owned()).or_default() += 1;
            }
            let asked = record.commands.iter().zip(&record.submitted);
            for (_, submitted) in asked.filter(|((_, answer), _)| answer.is_none()) {
                backlog.unanswered += 1;
                backlog.unanswered_since = earlier(backlog.unanswered_since, *submitted);
            }
        }
        backlog.stuck = stuck.into_iter().collect();
        Ok(backlog)
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let now = self.clock.now();
        let State { sagas, keys, feed, .. } = &mut *self.state();
        let ended = sagas.values().filter_map(|Record { row, .. }| {
            let ended_at = row.summary.ended_at?;
            (now.since(ended_at) > age).then_some((ended_at, row.id))
        });
        let mut old: Vec<_> = ended.collect();
        old.sort_unstable();
        old.truncate(limit as usize);
        for (_, id) in &old {
            sagas.remove(id);
        }
        keys.retain(|_, id| sagas.contains_key(id));
        feed.forget(|id| !sagas.contains_key(id));
        Ok(u32::try_from(old.len()).unwrap_or(limit))
    }
}

#[async_trait]
impl Leases for MemoryStore {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        let until = self.clock.now().after(ttl);
        self.state().workers.insert(worker.id, (worker.clone(), until));
        Ok(())
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some((_, until)) = state.workers.get_mut(&worker) else { return Ok(false) };
        if *until <= now {
            return Ok(false);
        }
        *until = now.after(ttl);
        Ok(true)
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        state.workers.remove(&worker);
        for record in state.sagas.values_mut().filter(|record| record.row.owner == Some(worker)) {
            (record.row.owner, record.row.claims) = (None, 0);
            record.row.summary.next_wake_at = Some(now);
        }
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        let now = self.clock.now();
        let State { sagas, workers, .. } = &mut *self.state();
        let lives = |worker: &WorkerId| workers.get(worker).is_some_and(|(_, until)| *until > now);
        if !lives(&claim.worker) {
            return Ok(Vec::new());
        }
        let mut free: Vec<&mut SagaRow> = sagas
            .values_mut()
            .map(|record| &mut record.row)
            .filter(|row| match &row.owner {
                None => row.summary.next_wake_at.is_some_and(|at| at <= now),
                Some(owner) => !lives(owner),
            })
            .filter(|row| claim.definitions.contains(&row.definition))
            .collect();
        free.sort_by_key(|row| row.summary.next_wake_at);
        let taken = free.into_iter().take(claim.limit as usize).map(|row| {
            (row.owner, row.epoch, row.claims) =
                (Some(claim.worker), row.epoch + 1, row.claims + 1);
            row.clone()
        });
        Ok(taken.collect())
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        let state = self.state();
        let rows = state.sagas.values().map(|record| &record.row);
        Ok(rows.filter(|row| row.owner == Some(worker)).cloned().collect())
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let ours = |row: &SagaRow| row.owner == Some(worker) && row.epoch == epoch;
        if let Some(record) = state.sagas.get_mut(&id).filter(|record| ours(&record.row)) {
            record.row.summary.next_wake_at = next_wake_at;
            record.let_go(now);
        }
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let now = self.clock.now();
        let state = self.state();
        let rows = state.workers.values().map(|(card, until)| WorkerRow {
            card: card.clone(),
            lease_until: *until,
            expired: *until <= now,
        });
        Ok(rows.collect())
    }

    async fn hinted(&self) {
        std::future::pending().await
    }
}

#[async_trait]
impl Inbox for MemoryStore {
    async fn submit(&self, id: SagaId, command: &Command) -> Result<SubmitOutcome, StoreError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(record) = state.sagas.get_mut(&id) else { return Ok(SubmitOutcome::NotFound) };
        let known =
            record.commands.iter().find(|(known, _)| known.request_id == command.request_id);
        match known {
            Some((known, _)) if known != command => return Ok(SubmitOutcome::Conflict),
            Some((_, Some(answer))) => return Ok(SubmitOutcome::Answered(answer.clone())),
            Some((_, None)) => {}
            None => {
                record.commands.push((command.clone(), None));
                record.submitted.push(now);
            }
        }
        if record.row.summary.status.is_alive() && record.row.owner.is_none() {
            record.row.summary.next_wake_at = Some(now);
        }
        Ok(SubmitOutcome::Queued)
    }

    async fn pending(
        &self,
        worker: WorkerId,
        limit: u32,
    ) -> Result<Vec<(SagaId, Command)>, StoreError> {
        let state = self.state();
        let open = |row: &SagaRow| row.owner == Some(worker) || !row.summary.status.is_alive();
        let open = state.sagas.values().filter(|record| open(&record.row));
        let unanswered = open.flat_map(|record| {
            let open = record.commands.iter().filter(|(_, answer)| answer.is_none());
            open.map(|(command, _)| (record.row.id, command.clone()))
        });
        Ok(unanswered.take(limit as usize).collect())
    }

    async fn commands(&self, id: SagaId) -> Result<Vec<Command>, StoreError> {
        let state = self.state();
        let commands =
            state.sagas.get(&id).map(|record| record.commands.iter()).into_iter().flatten();
        Ok(commands
            .filter(|(_, answer)| answer.is_none())
            .map(|(command, _)| command.clone())
            .collect())
    }

    async fn answer(
        &self,
        id: SagaId,
        request_id: &IdempotencyKey,
        answer: &CommandAnswer,
        by: Option<Owner>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let is_owned = |row: &SagaRow| {
            by.is_none_or(|by| row.owner == Some(by.worker) && row.epoch == by.epoch)
        };
        let record = state.sagas.get_mut(&id).filter(|record| is_owned(&record.row));
        let commands = record.map(|record| record.commands.iter_mut());
        let mut commands = commands.into_iter().flatten();
        if let Some((_, slot @ None)) =
            commands.find(|(command, _)| command.request_id == *request_id)
        {
            *slot = Some(answer.clone());
        }
        Ok(())
    }
}

#[async_trait]
impl Definitions for MemoryStore {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        let mut state = self.state();
        let known = state.definitions.get(&(spec.name.clone(), spec.version));
        if let Some(stored) = known.filter(|stored| stored.digest() != spec.digest()) {
            return Err(PublishError::Changed {
                definition: spec.reference(),
                stored: Box::new(stored.clone()),
                offered: Box::new(spec.clone()),
            });
        }
        state.definitions.insert((spec.name.clone(), spec.version), spec.clone());
        Ok(())
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        Ok(self.state().definitions.get(&(name.to_owned(), version)).cloned())
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        let state = self.state();
        let versions = state.definitions.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX));
        Ok(versions.map(|((_, version), _)| *version).collect())
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        let state = self.state();
        let versions = state.definitions.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX));
        Ok(versions.map(|(_, spec)| spec.clone()).next_back())
    }
}
