//! The saga log and the state rows.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Result, ToSql, params, params_from_iter};
use saga_core::store::{
    Append, AppendError, Backlog, NewSaga, Query, SagaLog, SagaRow, StartOutcome, StoreError,
    Summary,
};
use saga_core::{Bucket, LogRow, SagaId, Status, Timestamp};

use super::failure::classify;
use super::statement::{all, execute, first, one};
use super::writer::Change;
use super::{BUCKET, BUCKETS, SqliteStore, start};
use crate::row::{self, SagaColumns, integer, json};

/// Above every id in the order of ids.
const LAST: [u8; 16] = [0xff; 16];

#[async_trait]
impl SagaLog for SqliteStore {
    fn buckets(&self) -> u16 {
        BUCKETS
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        start::check_bucket(saga.id)?;
        self.writer.write(saga).await?
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let (id, epoch, seq) = (append.id, append.row.epoch, append.row.seq);
        match self.writer.write(append).await? {
            Appended::Done | Appended::Before => Ok(()),
            Appended::Fenced => Err(AppendError::Fenced { id, epoch, seq }),
        }
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        self.reader.read(move |db| load(db, id)).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.reader.read(move |db| read_row(db, id)).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        self.reader.read(move |db| read_log(db, id, after, i64::from(limit))).await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        let query = query.clone();
        self.reader.read(move |db| find(db, &query)).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.reader.read(|db| counts(db)).await
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.reader.read(|db| backlog(db)).await
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.forget_ended(age, limit).await
    }
}

/// What became of an append.
pub(super) enum Appended {
    Done,
    Before,
    Fenced,
}

impl Change for Append {
    type Outcome = Appended;

    fn run(&self, db: &Connection) -> Result<Appended> {
        let Self { id, owner, row, summary, release } = self;
        let micros = |at: Timestamp| at.as_micros();
        let params = params![
            id.bucket().number(),
            id.to_bytes(),
            owner.to_bytes(),
            integer(row.epoch),
            integer(row.seq),
            summary.status.as_str(),
            summary.next_wake_at.map(micros),
            wait(summary),
            summary.ended_at.map(micros),
            *release || !summary.status.is_alive(),
        ];
        if execute(db, include_str!("append.sql"), params)? == 1 {
            let row = start::log_values(*id, row, summary.status);
            execute(db, include_str!("append_log.sql"), params_from_iter(row))?;
            return Ok(Appended::Done);
        }
        let params = params![
            id.bucket().number(),
            id.to_bytes(),
            integer(row.seq),
            integer(row.epoch),
            row.at.as_micros(),
            row.body,
            row.digest.as_bytes(),
        ];
        let (repeated,) = one(db, include_str!("append_repeated.sql"), params)?;
        Ok(if repeated { Appended::Before } else { Appended::Fenced })
    }

    fn makes_due(&self, outcome: &Appended) -> bool {
        self.release && self.summary.status.is_alive() && matches!(outcome, Appended::Done)
    }
}

fn wait(summary: &Summary) -> Option<String> {
    summary.wait.as_ref().map(json)
}

fn load(db: &mut Connection, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
    let snapshot =
        db.transaction().map_err(|error| classify(format_args!("reading saga {id}"), &error))?;
    let Some(row) = read_row(&snapshot, id)? else { return Ok(None) };
    Ok(Some((row, read_log(&snapshot, id, 0, i64::MAX)?)))
}

fn read_row(db: &Connection, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
    let columns = first(db, include_str!("row.sql"), params![id.bucket().number(), id.to_bytes()])
        .map_err(|error| classify(format_args!("reading table saga, row {id}"), &error))?;
    columns.map(row::saga).transpose()
}

fn read_log(
    db: &Connection,
    id: SagaId,
    after: u64,
    limit: i64,
) -> Result<Vec<LogRow>, StoreError> {
    let params = params![id.bucket().number(), id.to_bytes(), integer(after), limit];
    let rows = all(db, include_str!("log.sql"), params)
        .map_err(|error| classify(format_args!("reading table saga_log, rows of {id}"), &error))?;
    rows.into_iter().map(|columns| row::log(id, columns)).collect()
}

/// Each status is read on its own, in the order of an index, and the pages are merged: asking
/// for several at once would sort everything that matches.
fn find(db: &mut Connection, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
    let snapshot = db.transaction().map_err(|error| classify("finding sagas", &error))?;
    let mut statuses = query.statuses.clone();
    statuses.sort_unstable();
    statuses.dedup();
    let mut found = Vec::new();
    if let Some(key) = &query.key {
        let bucket = Bucket::of(key.as_str(), BUCKETS).number();
        found = page(&snapshot, include_str!("find_key.sql"), bucket, query, Some(key.as_str()))?;
        found.retain(|row| statuses.is_empty() || statuses.contains(&row.summary.status));
    } else if statuses.is_empty() {
        found = page(&snapshot, include_str!("find_all.sql"), BUCKET, query, None)?;
    }
    for status in statuses.iter().filter(|_| query.key.is_none()) {
        let of_status = include_str!("find_status.sql");
        found.extend(page(&snapshot, of_status, BUCKET, query, Some(status.as_str()))?);
    }
    found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    found.truncate(query.page() as usize);
    Ok(found)
}

/// One page of a statement; `equal` is what its fifth parameter, if it has one, has to equal.
fn page(
    db: &Connection,
    statement: &str,
    bucket: i32,
    query: &Query,
    equal: Option<&str>,
) -> Result<Vec<SagaRow>, StoreError> {
    let before = query.before.map_or(LAST, SagaId::to_bytes);
    let mut values: Vec<&dyn ToSql> = vec![&bucket, &before];
    let (name, limit) = (query.name.as_deref(), query.page());
    values.extend([&name as &dyn ToSql, &limit]);
    if equal.is_some() {
        values.push(&equal);
    }
    let rows = all::<SagaColumns>(db, statement, values.as_slice())
        .map_err(|error| classify("reading table saga", &error))?;
    rows.into_iter().map(row::saga).collect()
}

fn counts(db: &Connection) -> Result<Vec<(Status, u64)>, StoreError> {
    let counted = all(db, include_str!("counts.sql"), [BUCKET])
        .map_err(|error| classify("counting table saga", &error))?;
    row::counts(counted)
}

fn backlog(db: &Connection) -> Result<Backlog, StoreError> {
    let rows = all(db, include_str!("backlog.sql"), [BUCKET])
        .map_err(|error| classify("counting what waits", &error))?;
    Ok(row::backlog(rows))
}
