//! The saga log and the state rows.

use async_trait::async_trait;
use saga_core::store::{
    Append, AppendError, NewSaga, Query, SagaLog, SagaRow, StartOutcome, StoreError, Summary,
};
use saga_core::{Bucket, LogRow, SagaId, Status};
use sqlx::{Connection, Error, SqliteConnection};

use super::failure::classify;
use super::writer::Change;
use super::{BUCKET, BUCKETS, SqliteStore};
use crate::row::{self, LogColumns, SagaColumns, integer, json};

/// Above every id in the order of ids.
const LAST: [u8; 16] = [0xff; 16];

#[async_trait]
impl SagaLog for SqliteStore {
    fn buckets(&self) -> u16 {
        BUCKETS
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        check_bucket(saga.id)?;
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
        self.reader.read(move |mut db| async move { load(&mut db, id).await }).await
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.reader.read(move |mut db| async move { read_row(&mut db, id).await }).await
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let limit = i64::from(limit);
        self.reader
            .read(move |mut db| async move { read_log(&mut db, id, after, limit).await })
            .await
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        let query = query.clone();
        self.reader.read(move |mut db| async move { find(&mut db, &query).await }).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        self.reader.read(|mut db| async move { counts(&mut db).await }).await
    }
}

/// A start inside a transaction of the caller.
pub(super) async fn start_in(
    db: &mut SqliteConnection,
    saga: &NewSaga,
) -> Result<StartOutcome, StoreError> {
    check_bucket(saga.id)?;
    saga.run(db).await.map_err(|error| classify("starting a saga", &error))?
}

fn check_bucket(id: SagaId) -> Result<(), StoreError> {
    let bucket = id.bucket().number();
    if bucket == BUCKET {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "saga id {id} carries bucket {bucket}, and this store has {BUCKETS}: make ids with the number of buckets the store tells"
    )))
}

#[async_trait]
impl Change for NewSaga {
    type Outcome = Result<StartOutcome, StoreError>;

    async fn run(&self, db: &mut SqliteConnection) -> Result<Self::Outcome, Error> {
        let Self { id, definition, key, input_digest, first, summary, owner } = self;
        let key = key.as_ref().map(|key| key.as_str());
        let created = sqlx::query(include_str!("start.sql"))
            .bind(BUCKET)
            .bind(&id.to_bytes()[..])
            .bind(&definition.name)
            .bind(definition.version)
            .bind(&definition.digest.as_bytes()[..])
            .bind(key)
            .bind(&input_digest.as_bytes()[..])
            .bind(integer(first.seq))
            .bind(integer(first.epoch))
            .bind(owner.map(|owner| owner.to_bytes().to_vec()))
            .bind(first.at.as_micros())
            .bind(summary.status.as_str())
            .bind(summary.next_wake_at.map(|at| at.as_micros()))
            .bind(wait(summary))
            .bind(summary.ended_at.map(|at| at.as_micros()))
            .execute(&mut *db)
            .await?;
        if created.rows_affected() == 1 {
            insert_log(db, *id, first).await?;
            return Ok(Ok(StartOutcome::Created));
        }
        let (existing, digest): (Vec<u8>, Vec<u8>) =
            sqlx::query_as(include_str!("start_existing.sql"))
                .bind(BUCKET)
                .bind(&id.to_bytes()[..])
                .bind(key)
                .bind(&definition.name)
                .fetch_one(db)
                .await?;
        Ok(row::saga_id("saga", &existing).and_then(|id| {
            let same_input = row::same_input(id, &digest, *input_digest)?;
            Ok(StartOutcome::Existing { id, same_input })
        }))
    }

    fn makes_due(&self, outcome: &Self::Outcome) -> bool {
        self.owner.is_none() && matches!(outcome, Ok(StartOutcome::Created))
    }
}

/// What became of an append.
pub(super) enum Appended {
    Done,
    Before,
    Fenced,
}

#[async_trait]
impl Change for Append {
    type Outcome = Appended;

    async fn run(&self, db: &mut SqliteConnection) -> Result<Appended, Error> {
        let Self { id, owner, row, summary, release } = self;
        let moved = sqlx::query(include_str!("append.sql"))
            .bind(id.bucket().number())
            .bind(&id.to_bytes()[..])
            .bind(&owner.to_bytes()[..])
            .bind(integer(row.epoch))
            .bind(integer(row.seq))
            .bind(summary.status.as_str())
            .bind(summary.next_wake_at.map(|at| at.as_micros()))
            .bind(wait(summary))
            .bind(summary.ended_at.map(|at| at.as_micros()))
            .bind(*release || !summary.status.is_alive())
            .execute(&mut *db)
            .await?;
        if moved.rows_affected() == 1 {
            insert_log(db, *id, row).await?;
            return Ok(Appended::Done);
        }
        let repeated: bool = sqlx::query_scalar(include_str!("append_repeated.sql"))
            .bind(id.bucket().number())
            .bind(&id.to_bytes()[..])
            .bind(integer(row.seq))
            .bind(integer(row.epoch))
            .bind(row.at.as_micros())
            .bind(&row.body)
            .bind(&row.digest.as_bytes()[..])
            .fetch_one(db)
            .await?;
        Ok(if repeated { Appended::Before } else { Appended::Fenced })
    }

    fn makes_due(&self, outcome: &Appended) -> bool {
        self.release && matches!(outcome, Appended::Done)
    }
}

async fn insert_log(db: &mut SqliteConnection, id: SagaId, row: &LogRow) -> Result<(), Error> {
    let inserted = sqlx::query(include_str!("append_log.sql"))
        .bind(id.bucket().number())
        .bind(&id.to_bytes()[..])
        .bind(integer(row.seq))
        .bind(integer(row.epoch))
        .bind(row.at.as_micros())
        .bind(&row.body)
        .bind(&row.digest.as_bytes()[..])
        .execute(db);
    inserted.await.map(drop)
}

fn wait(summary: &Summary) -> Option<String> {
    summary.wait.as_ref().map(json)
}

async fn load(
    db: &mut SqliteConnection,
    id: SagaId,
) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
    let reading = |error| classify(format_args!("reading saga {id}"), &error);
    let mut snapshot = db.begin().await.map_err(reading)?;
    let Some(row) = read_row(&mut snapshot, id).await? else { return Ok(None) };
    let log = read_log(&mut snapshot, id, 0, i64::MAX).await?;
    snapshot.commit().await.map_err(reading)?;
    Ok(Some((row, log)))
}

async fn read_row(db: &mut SqliteConnection, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
    let columns: Option<SagaColumns> = sqlx::query_as(include_str!("row.sql"))
        .bind(id.bucket().number())
        .bind(&id.to_bytes()[..])
        .fetch_optional(db)
        .await
        .map_err(|error| classify(format_args!("reading table saga, row {id}"), &error))?;
    columns.map(row::saga).transpose()
}

async fn read_log(
    db: &mut SqliteConnection,
    id: SagaId,
    after: u64,
    limit: i64,
) -> Result<Vec<LogRow>, StoreError> {
    let rows: Vec<LogColumns> = sqlx::query_as(include_str!("log.sql"))
        .bind(id.bucket().number())
        .bind(&id.to_bytes()[..])
        .bind(integer(after))
        .bind(limit)
        .fetch_all(db)
        .await
        .map_err(|error| classify(format_args!("reading table saga_log, rows of {id}"), &error))?;
    rows.into_iter().map(|columns| row::log(id, columns)).collect()
}

/// Each status is read on its own, in the order of an index, and the pages are merged: asking
/// for several at once would sort everything that matches.
async fn find(db: &mut SqliteConnection, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
    let mut snapshot = db.begin().await.map_err(|error| classify("finding sagas", &error))?;
    let mut statuses = query.statuses.clone();
    statuses.sort_unstable();
    statuses.dedup();
    let mut found = Vec::new();
    if let Some(key) = &query.key {
        let bucket = Bucket::of(key.as_str(), BUCKETS).number();
        found =
            page(&mut snapshot, include_str!("find_key.sql"), bucket, query, Some(key.as_str()))
                .await?;
        found.retain(|row| statuses.is_empty() || statuses.contains(&row.summary.status));
    } else if statuses.is_empty() {
        found = page(&mut snapshot, include_str!("find_all.sql"), BUCKET, query, None).await?;
    }
    for status in statuses.iter().filter(|_| query.key.is_none()) {
        let of_status = include_str!("find_status.sql");
        found.extend(page(&mut snapshot, of_status, BUCKET, query, Some(status.as_str())).await?);
    }
    snapshot.commit().await.map_err(|error| classify("finding sagas", &error))?;
    found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
    found.truncate(query.page() as usize);
    Ok(found)
}

async fn page(
    db: &mut SqliteConnection,
    statement: &'static str,
    bucket: i32,
    query: &Query,
    equal: Option<&str>,
) -> Result<Vec<SagaRow>, StoreError> {
    let before = query.before.map_or(LAST, SagaId::to_bytes);
    let rows: Vec<SagaColumns> = sqlx::query_as(statement)
        .bind(bucket)
        .bind(&before[..])
        .bind(query.name.as_deref())
        .bind(query.page())
        .bind(equal)
        .fetch_all(db)
        .await
        .map_err(|error| classify("reading table saga", &error))?;
    rows.into_iter().map(row::saga).collect()
}

async fn counts(db: &mut SqliteConnection) -> Result<Vec<(Status, u64)>, StoreError> {
    let counted: Vec<(String, i64)> = sqlx::query_as(include_str!("counts.sql"))
        .bind(BUCKET)
        .fetch_all(db)
        .await
        .map_err(|error| classify("counting table saga", &error))?;
    counted.into_iter().map(row::count).collect()
}
