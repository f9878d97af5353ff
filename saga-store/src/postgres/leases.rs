//! Who drives which saga.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{Claim, Leases, SagaRow, StoreError, WorkerCard, WorkerRow};
use saga_core::{SagaId, Timestamp, WorkerId};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::{ANSWER_MAX, Work};
use crate::row::{self, SagaColumns, WorkerColumns, integer, json, micros};

/// A renewal is given at least so long, however short the lease: a server may be busy.
const RENEWAL_MIN: Duration = Duration::from_millis(500);

/// A worker whose lease ran out this long ago is forgotten when another one enlists.
const WORKER_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl Leases for PostgresStore {
    async fn enlist(&self, worker: &WorkerCard, ttl: Duration) -> Result<(), StoreError> {
        self.heartbeat.run(Enlist { worker: worker.clone(), ttl }).await
    }

    async fn renew(&self, worker: WorkerId, ttl: Duration) -> Result<bool, StoreError> {
        self.heartbeat.run(Renew { worker, ttl }).await
    }

    async fn retire(&self, worker: WorkerId) -> Result<(), StoreError> {
        if self.distributed {
            self.retire_by_bucket(worker).await?;
        } else {
            self.lanes.run(Retire { worker }).await?;
        }
        self.hint.give();
        Ok(())
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<SagaRow>, StoreError> {
        let claimed = if self.distributed {
            self.claim_by_bucket(claim).await?
        } else {
            self.lanes.run(Wanted(claim.clone())).await?
        };
        // An unreadable row stays with this worker, which does nothing with it.
        Ok(row::readable(claimed, row::saga, "the sagas claimed"))
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<SagaRow>, StoreError> {
        let rows = self.lanes.run(Owned { worker }).await?;
        Ok(row::readable(rows, row::saga, "the sagas owned"))
    }

    async fn release(
        &self,
        id: SagaId,
        worker: WorkerId,
        epoch: u64,
        next_wake_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.lanes.run(Release { id, worker, epoch, next_wake_at }).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRow>, StoreError> {
        let rows = self.lanes.run(Workers).await?;
        rows.into_iter().map(row::worker).collect()
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
impl Work for Enlist {
    type Outcome = ();

    fn what(&self) -> String {
        format!("enlisting worker {}", self.worker.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        sqlx::query(include_str!("forget_workers.sql"))
            .bind(micros(WORKER_KEPT))
            .execute(&mut *db)
            .await?;
        sqlx::query(include_str!("enlist.sql"))
            .bind(&self.worker.id.to_bytes()[..])
            .bind(&self.worker.name)
            .bind(json(&self.worker.definitions))
            .bind(micros(self.ttl))
            .execute(db)
            .await?;
        Ok(())
    }
}

struct Renew {
    worker: WorkerId,
    ttl: Duration,
}

#[async_trait]
impl Work for Renew {
    type Outcome = bool;

    fn what(&self) -> String {
        format!("renewing the lease of worker {}", self.worker)
    }

    /// In time for a try on another connection before the worker has to give its lease up.
    fn answer_max(&self) -> Duration {
        (self.ttl / 3).clamp(RENEWAL_MIN, ANSWER_MAX)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<bool, Error> {
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
impl Work for Retire {
    type Outcome = ();

    fn what(&self) -> String {
        format!("retiring worker {}", self.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let worker = self.worker.to_bytes();
        sqlx::query(include_str!("retire.sql")).bind(&worker[..]).execute(db).await.map(drop)
    }
}

struct Wanted(Claim);

#[async_trait]
impl Work for Wanted {
    type Outcome = Vec<SagaColumns>;

    fn what(&self) -> String {
        format!("claiming sagas for worker {}", self.0.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<SagaColumns>, Error> {
        let Claim { worker, definitions, limit } = &self.0;
        let names: Vec<_> = definitions.iter().map(|known| known.name.clone()).collect();
        let versions: Vec<_> = definitions.iter().map(|known| i64::from(known.version)).collect();
        let digests: Vec<_> =
            definitions.iter().map(|known| known.digest.as_bytes().to_vec()).collect();
        sqlx::query_as(include_str!("claim.sql"))
            .bind(&worker.to_bytes()[..])
            .bind(names)
            .bind(versions)
            .bind(digests)
            .bind(i64::from(*limit))
            .fetch_all(db)
            .await
    }

    /// What an earlier run may have claimed would be forgotten; the caller looks for it instead.
    fn repeatable(&self) -> bool {
        false
    }
}

struct Owned {
    worker: WorkerId,
}

#[async_trait]
impl Work for Owned {
    type Outcome = Vec<SagaColumns>;

    fn what(&self) -> String {
        format!("reading what worker {} owns", self.worker)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<SagaColumns>, Error> {
        let worker = self.worker.to_bytes();
        sqlx::query_as(include_str!("owned.sql")).bind(&worker[..]).fetch_all(db).await
    }
}

struct Release {
    id: SagaId,
    worker: WorkerId,
    epoch: u64,
    next_wake_at: Option<Timestamp>,
}

#[async_trait]
impl Work for Release {
    type Outcome = ();

    fn what(&self) -> String {
        format!("releasing saga {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let released = sqlx::query(include_str!("release.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .bind(&self.worker.to_bytes()[..])
            .bind(integer(self.epoch))
            .bind(self.next_wake_at.map(|at| at.as_micros()))
            .execute(db);
        released.await.map(drop)
    }
}

struct Workers;

#[async_trait]
impl Work for Workers {
    type Outcome = Vec<WorkerColumns>;

    fn what(&self) -> String {
        "reading table saga_worker".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<WorkerColumns>, Error> {
        sqlx::query_as(include_str!("workers.sql")).fetch_all(db).await
    }
}
