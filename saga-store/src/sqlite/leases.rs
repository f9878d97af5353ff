//! Who drives which saga.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{Claim, Leases, SagaRow, StoreError, WorkerCard, WorkerRow};
use saga_core::{DefinitionRef, SagaId, Timestamp, WorkerId};
use sqlx::{Error, SqliteConnection};

use super::failure::classify;
use super::writer::Change;
use super::{BUCKET, SqliteStore};
use crate::row::{self, SagaColumns, WorkerColumns, integer, json};

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
        let any = self.reader.read(move |mut db| async move {
            let found = glance.claimable(&mut db).await;
            found.map_err(|error| classify("looking for sagas to claim", &error))
        });
        if any.await?.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(wanted).await
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        self.reader.read(move |mut db| async move { owned(&mut db, worker).await }).await
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
        self.reader.read(|mut db| async move { workers(&mut db).await }).await
    }

    async fn hinted(&self) {
        self.hint.wait().await;
    }
}

struct Enlist {
    worker: WorkerCard,
    ttl: Duration,
}

#[async_trait]
impl Change for Enlist {
    type Outcome = ();

    async fn run(&self, db: &mut SqliteConnection) -> Result<(), Error> {
        sqlx::query(include_str!("forget_workers.sql"))
            .bind(micros(WORKER_KEPT))
            .execute(&mut *db)
            .await?;
        let enlisted = sqlx::query(include_str!("enlist.sql"))
            .bind(&self.worker.id.to_bytes()[..])
            .bind(&self.worker.name)
            .bind(json(&self.worker.definitions))
            .bind(micros(self.ttl))
            .execute(db);
        enlisted.await.map(drop)
    }
}

struct Renew {
    worker: WorkerId,
    ttl: Duration,
}

#[async_trait]
impl Change for Renew {
    type Outcome = bool;

    async fn run(&self, db: &mut SqliteConnection) -> Result<bool, Error> {
        let renewed = sqlx::query(include_str!("renew.sql"))
            .bind(&self.worker.to_bytes()[..])
            .bind(micros(self.ttl))
            .execute(db);
        Ok(renewed.await?.rows_affected() == 1)
    }
}

struct Retire {
    worker: WorkerId,
}

#[async_trait]
impl Change for Retire {
    type Outcome = ();

    async fn run(&self, db: &mut SqliteConnection) -> Result<(), Error> {
        let worker = self.worker.to_bytes();
        sqlx::query(include_str!("retire.sql")).bind(&worker[..]).execute(&mut *db).await?;
        let handed_back =
            sqlx::query(include_str!("hand_back.sql")).bind(BUCKET).bind(&worker[..]).execute(db);
        handed_back.await.map(drop)
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
    async fn claimable(&self, db: &mut SqliteConnection) -> Result<Vec<Vec<u8>>, Error> {
        let Claim { worker, definitions, limit } = &self.claim;
        let alive: bool = sqlx::query_scalar(include_str!("lease_alive.sql"))
            .bind(&worker.to_bytes()[..])
            .fetch_one(&mut *db)
            .await?;
        if !alive {
            return Ok(Vec::new());
        }
        let mut ids: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("claimable_lost.sql"))
            .bind(BUCKET)
            .bind(json(definitions))
            .bind(limit)
            .fetch_all(&mut *db)
            .await?;
        let (later, first) = definitions.split_at(self.turn % definitions.len().max(1));
        for definition in first.iter().chain(later) {
            let room = *limit as usize - ids.len();
            if room > 0 {
                ids.extend(due(db, definition, room).await?);
            }
        }
        Ok(ids)
    }
}

async fn due(
    db: &mut SqliteConnection,
    definition: &DefinitionRef,
    limit: usize,
) -> Result<Vec<Vec<u8>>, Error> {
    sqlx::query_scalar(include_str!("claimable_due.sql"))
        .bind(BUCKET)
        .bind(&definition.name)
        .bind(definition.version)
        .bind(&definition.digest.as_bytes()[..])
        .bind(integer(limit as u64))
        .fetch_all(db)
        .await
}

#[async_trait]
impl Change for Wanted {
    type Outcome = Vec<SagaRow>;

    async fn run(&self, db: &mut SqliteConnection) -> Result<Vec<SagaRow>, Error> {
        let ids = self.claimable(db).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.iter().map(|id| row::hex(id)).collect();
        let claimed: Vec<SagaColumns> = sqlx::query_as(include_str!("claim.sql"))
            .bind(BUCKET)
            .bind(&self.claim.worker.to_bytes()[..])
            .bind(json(&ids))
            .fetch_all(db)
            .await?;
        // One unreadable row must not keep a worker from the readable ones. It stays with this
        // worker, which does nothing with it.
        let readable = claimed.into_iter().map(row::saga).filter_map(|row| {
            row.inspect_err(|error| tracing::error!(%error, "claimed a saga that cannot be read"))
                .ok()
        });
        Ok(readable.collect())
    }
}

struct Release {
    id: SagaId,
    worker: WorkerId,
    epoch: u64,
    next_wake_at: Option<Timestamp>,
}

#[async_trait]
impl Change for Release {
    type Outcome = bool;

    async fn run(&self, db: &mut SqliteConnection) -> Result<bool, Error> {
        let released = sqlx::query(include_str!("release.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .bind(&self.worker.to_bytes()[..])
            .bind(integer(self.epoch))
            .bind(self.next_wake_at.map(|at| at.as_micros()))
            .execute(db);
        Ok(released.await?.rows_affected() == 1)
    }

    fn makes_due(&self, released: &bool) -> bool {
        *released
    }
}

async fn owned(db: &mut SqliteConnection, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
    let rows: Vec<SagaColumns> = sqlx::query_as(include_str!("owned.sql"))
        .bind(BUCKET)
        .bind(&worker.to_bytes()[..])
        .fetch_all(db)
        .await
        .map_err(|error| classify("reading table saga", &error))?;
    rows.into_iter().map(row::saga).collect()
}

async fn workers(db: &mut SqliteConnection) -> Result<Vec<WorkerRow>, StoreError> {
    let rows: Vec<WorkerColumns> = sqlx::query_as(include_str!("workers.sql"))
        .fetch_all(db)
        .await
        .map_err(|error| classify("reading table saga_worker", &error))?;
    rows.into_iter().map(row::worker).collect()
}

/// Microseconds, short enough to be added to the present without an overflow.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}
