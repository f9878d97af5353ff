//! The audit trail. All of it is in one bucket, so that every statement stays within one.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{Audit, AuditEntry, AuditOutcome, AuditQuery, StoreError};
use saga_core::{AuditId, Bucket};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{self, AuditColumns, micros};

#[async_trait]
impl Audit for PostgresStore {
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.lanes.run(Record { bucket: self.trail(), entry: entry.clone() }).await
    }

    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError> {
        self.lanes.run(Settle { bucket: self.trail(), id, outcome: outcome.clone() }).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = self.lanes.run(Find { bucket: self.trail(), query: query.clone() }).await?;
        Ok(row::readable(rows, row::audit, "the audit trail"))
    }

    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let forgotten = self.retention.run(Forget { bucket: self.trail(), age, limit }).await?;
        Ok(u32::try_from(forgotten).unwrap_or(limit))
    }
}

impl PostgresStore {
    /// The bucket of the trail.
    fn trail(&self) -> i32 {
        Bucket::of("audit", self.buckets).number()
    }
}

struct Record {
    bucket: i32,
    entry: AuditEntry,
}

#[async_trait]
impl Work for Record {
    type Outcome = ();

    fn what(&self) -> String {
        format!("recording audit entry {}", self.entry.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let entry = &self.entry;
        let outcome = entry.outcome.as_ref();
        let statement = sqlx::query(include_str!("audit_insert.sql"))
            .bind(self.bucket)
            .bind(entry.id.at().as_micros())
            .bind(entry.id.to_bytes().to_vec())
            .bind(&entry.actor)
            .bind(&entry.role)
            .bind(&entry.remote)
            .bind(&entry.action)
            .bind(&entry.target)
            .bind(&entry.reason)
            .bind(&entry.request_id)
            .bind(&entry.detail)
            .bind(outcome.map(|outcome| outcome.at.as_micros()))
            .bind(outcome.map(|outcome| i64::from(outcome.status)))
            .bind(outcome.and_then(|outcome| outcome.problem.as_ref()));
        statement.execute(db).await.map(drop)
    }
}

struct Settle {
    bucket: i32,
    id: AuditId,
    outcome: AuditOutcome,
}

#[async_trait]
impl Work for Settle {
    type Outcome = ();

    fn what(&self) -> String {
        format!("completing audit entry {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let statement = sqlx::query(include_str!("audit_settle.sql"))
            .bind(self.bucket)
            .bind(self.id.at().as_micros())
            .bind(self.id.to_bytes().to_vec())
            .bind(self.outcome.at.as_micros())
            .bind(i64::from(self.outcome.status))
            .bind(&self.outcome.problem);
        statement.execute(db).await.map(drop)
    }
}

struct Find {
    bucket: i32,
    query: AuditQuery,
}

#[async_trait]
impl Work for Find {
    type Outcome = Vec<AuditColumns>;

    fn what(&self) -> String {
        "reading table saga_audit".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<AuditColumns>, Error> {
        let (first, end) = self.query.ids();
        let within = |sql: &'static str| {
            sqlx::query_as(sql)
                .bind(self.bucket)
                .bind(first.at().as_micros())
                .bind(end.at().as_micros())
                .bind(end.to_bytes().to_vec())
                .bind(i64::from(self.query.page()))
        };
        let statement = match &self.query {
            AuditQuery { target: Some(target), actor, action, .. } => {
                let of_target = within(include_str!("audit_of_target.sql"));
                of_target.bind(target).bind(actor).bind(action)
            }
            AuditQuery { actor: Some(actor), action, .. } => {
                within(include_str!("audit_of_actor.sql")).bind(actor).bind(action)
            }
            AuditQuery { action: Some(action), .. } => {
                within(include_str!("audit_of_action.sql")).bind(action)
            }
            AuditQuery { .. } => within(include_str!("audit.sql")),
        };
        statement.fetch_all(db).await
    }
}

struct Forget {
    bucket: i32,
    age: Duration,
    limit: u32,
}

#[async_trait]
impl Work for Forget {
    type Outcome = u64;

    fn what(&self) -> String {
        "forgetting audit entries".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<u64, Error> {
        let statement = sqlx::query(include_str!("forget_audit.sql"))
            .bind(self.bucket)
            .bind(micros(self.age))
            .bind(i64::from(self.limit));
        Ok(statement.execute(db).await?.rows_affected())
    }
}
