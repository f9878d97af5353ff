//! Who drives which saga.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Result, params};
use saga_core::store::{Claim, Leases, SagaRow, StoreError, WorkerCard, WorkerRow};
use saga_core::{DefinitionRef, SagaId, Timestamp, WorkerId};

use super::failure::classify;
use super::statement::{all, each, execute, one};
use super::writer::Change;
use super::{BUCKET, SqliteStore};
use crate::row::{self, integer, json, micros};

/// A worker whose lease ran out this long ago is forgotten when another one enlists.
const WORKER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl Leases for SqliteStore {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        self.writer.write(Enlist { worker: worker.clone(), ttl }).await
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.writer.write(Renew { worker, ttl }).await
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        self.writer.write(Retire { worker }).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let wanted = Wanted { claim: claim.clone(), turn };
        // A look without the lock on the file: idle workers of many processes must not contend.
        let glance = Wanted { claim: Claim { limit: claim.limit.min(1), ..claim.clone() }, turn };
        let any = self.reader.read(move |db| {
            let found = glance.claimable(db);
            found.map_err(|error| classify("looking for sagas to claim", &error))
        });
        if any.await?.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(wanted).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.reader.read(move |db| owned(db, worker)).await
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.writer.write(Release { id, worker, epoch, next_wake_at }).await.map(drop)
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        self.reader.read(|db| workers(db)).await
    }

    async fn hinted(&self) {
        self.hint.wait().await;
    }
}

struct Enlist {
    worker: WorkerCard,
    ttl: Duration,
}

impl Change for Enlist {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        execute(db, include_str!("forget_workers.sql"), [micros(WORKER_KEPT)])?;
        let WorkerCard { id, name, definitions } = &self.worker;
        let params = params![id.to_bytes(), name, json(definitions), micros(self.ttl)];
        execute(db, include_str!("enlist.sql"), params).map(drop)
    }
}

struct Renew {
    worker: WorkerId,
    ttl: Duration,
}

impl Change for Renew {
    type Outcome = bool;

    fn run(&self, db: &Connection) -> Result<bool> {
        let params = params![self.worker.to_bytes(), micros(self.ttl)];
        Ok(execute(db, include_str!("renew.sql"), params)? == 1)
    }
}

struct Retire {
    worker: WorkerId,
}

impl Change for Retire {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        let worker = self.worker.to_bytes();
        execute(db, include_str!("retire.sql"), [worker])?;
        execute(db, include_str!("hand_back.sql"), params![BUCKET, worker]).map(drop)
    }

    fn makes_due(&self, (): &()) -> bool {
        true
    }
}

/// A claim, and which of its definitions is served first.
struct Wanted {
    claim: Claim,
    turn: usize,
}

impl Wanted {
    /// The ids of sagas that may be claimed: first those that were lost, then those due.
    fn claimable(&self, db: &Connection) -> Result<Vec<Id>> {
        let Claim { worker, definitions, limit } = &self.claim;
        let (alive,): (bool,) = one(db, include_str!("lease_alive.sql"), [worker.to_bytes()])?;
        if !alive {
            return Ok(Vec::new());
        }
        let params = params![BUCKET, json(definitions), limit];
        let mut ids = all(db, include_str!("claimable_lost.sql"), params)?;
        let (later, first) = definitions.split_at(self.turn % definitions.len().max(1));
        for definition in first.iter().chain(later) {
            let room = *limit as usize - ids.len();
            if room > 0 {
                ids.extend(due(db, definition, room)?);
            }
        }
        Ok(ids)
    }
}

/// The bytes of an id, as a row of one column.
type Id = (Vec<u8>,);

fn due(db: &Connection, definition: &DefinitionRef, limit: usize) -> Result<Vec<Id>> {
    let DefinitionRef { name, version, digest } = definition;
    let params = params![BUCKET, name, version, digest.as_bytes(), integer(limit as u64)];
    all(db, include_str!("claimable_due.sql"), params)
}

impl Change for Wanted {
    type Outcome = Vec<SagaRow>;

    fn run(&self, db: &Connection) -> Result<Vec<SagaRow>> {
        let ids = self.claimable(db)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.iter().map(|(id,)| row::hex(id)).collect();
        let params = params![BUCKET, self.claim.worker.to_bytes(), json(&ids)];
        let claimed = each(db, include_str!("claim.sql"), params, "claiming from table saga")?;
        // An unreadable row stays with this worker, which does nothing with it.
        Ok(row::readable(claimed, |row| row::saga(row?), "the sagas claimed"))
    }
}

struct Release {
    id: SagaId,
    worker: WorkerId,
    epoch: u64,
    next_wake_at: Option<Timestamp>,
}

impl Change for Release {
    type Outcome = bool;

    fn run(&self, db: &Connection) -> Result<bool> {
        let params = params![
            self.id.bucket().number(),
            self.id.to_bytes(),
            self.worker.to_bytes(),
            integer(self.epoch),
            self.next_wake_at.map(|at| at.as_micros()),
        ];
        Ok(execute(db, include_str!("release.sql"), params)? == 1)
    }

    fn makes_due(&self, released: &bool) -> bool {
        *released
    }
}

fn owned(db: &Connection, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
    let (what, params) = ("reading table saga", params![BUCKET, worker.to_bytes()]);
    let rows = each(db, include_str!("owned.sql"), params, what)
        .map_err(|error| classify(what, &error))?;
    Ok(row::readable(rows, |row| row::saga(row?), "the sagas owned"))
}

fn workers(db: &Connection) -> Result<Vec<WorkerRow>, StoreError> {
    let rows = all(db, include_str!("workers.sql"), [])
        .map_err(|error| classify("reading table saga_worker", &error))?;
    rows.into_iter().map(row::worker).collect()
}
