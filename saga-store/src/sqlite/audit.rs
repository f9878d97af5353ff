//! The audit trail.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Result, params};
use saga_core::AuditId;
use saga_core::store::{Audit, AuditEntry, AuditOutcome, AuditQuery, StoreError};

use super::failure::classify;
use super::statement::{all, execute};
use super::writer::Change;
use super::{BUCKET, SqliteStore};
use crate::row::{self, AuditColumns, micros};

#[async_trait]
impl Audit for SqliteStore {
    async fn record_audit(&self, entry: &AuditEntry) -> std::result::Result<(), StoreError> {
        self.writer.write(Record(entry.clone())).await
    }

    async fn settle_audit(
        &self,
        id: AuditId,
        outcome: &AuditOutcome,
    ) -> std::result::Result<(), StoreError> {
        self.writer.write(Settle { id, outcome: outcome.clone() }).await
    }

    async fn audit(&self, query: &AuditQuery) -> std::result::Result<Vec<AuditEntry>, StoreError> {
        let query = query.clone();
        let work = move |db: &mut Connection| {
            let rows = find(db, &query);
            let rows = rows.map_err(|error| classify("reading table saga_audit", &error))?;
            Ok(row::readable(rows, row::audit, "the audit trail"))
        };
        self.reader.read(work).await
    }

    async fn forget_audit(
        &self,
        age: Duration,
        limit: u32,
    ) -> std::result::Result<u32, StoreError> {
        self.writer.write(Forget { age, limit }).await
    }
}

fn find(db: &Connection, query: &AuditQuery) -> Result<Vec<AuditColumns>> {
    let (first, end) = query.ids();
    let (since, until, before) = (first.at().as_micros(), end.at().as_micros(), end.to_bytes());
    let page = query.page();
    match query {
        AuditQuery { target: Some(target), actor, action, .. } => {
            let params = params![BUCKET, since, until, before, page, target, actor, action];
            all(db, include_str!("audit_of_target.sql"), params)
        }
        AuditQuery { actor: Some(actor), action, .. } => {
            let params = params![BUCKET, since, until, before, page, actor, action];
            all(db, include_str!("audit_of_actor.sql"), params)
        }
        AuditQuery { action: Some(action), .. } => {
            let params = params![BUCKET, since, until, before, page, action];
            all(db, include_str!("audit_of_action.sql"), params)
        }
        AuditQuery { .. } => {
            all(db, include_str!("audit.sql"), params![BUCKET, since, until, before, page])
        }
    }
}

struct Record(AuditEntry);

impl Change for Record {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        let entry = &self.0;
        let outcome = entry.outcome.as_ref();
        let params = params![
            BUCKET,
            entry.id.at().as_micros(),
            entry.id.to_bytes(),
            entry.actor,
            entry.role,
            entry.remote,
            entry.action,
            entry.target,
            entry.reason,
            entry.request_id,
            entry.detail,
            outcome.map(|outcome| outcome.at.as_micros()),
            outcome.map(|outcome| outcome.status),
            outcome.and_then(|outcome| outcome.problem.as_ref()),
        ];
        execute(db, include_str!("audit_insert.sql"), params).map(drop)
    }
}

struct Settle {
    id: AuditId,
    outcome: AuditOutcome,
}

impl Change for Settle {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        let Self { id, outcome: AuditOutcome { at, status, problem } } = self;
        let (made_at, id) = (id.at().as_micros(), id.to_bytes());
        let params = params![BUCKET, made_at, id, at.as_micros(), status, problem];
        execute(db, include_str!("audit_settle.sql"), params).map(drop)
    }
}

struct Forget {
    age: Duration,
    limit: u32,
}

impl Change for Forget {
    type Outcome = u32;

    fn run(&self, db: &Connection) -> Result<u32> {
        let params = params![BUCKET, micros(self.age), self.limit];
        let forgotten = execute(db, include_str!("forget_audit.sql"), params)?;
        Ok(u32::try_from(forgotten).unwrap_or(self.limit))
    }
}
