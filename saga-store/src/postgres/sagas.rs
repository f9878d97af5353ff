//! The saga log and the state rows.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::store::{
    Append, AppendError, Backlog, NewSaga, Query, SagaLog, SagaRow, StartOutcome, StoreError,
};
use saga_core::{Bucket, LogRow, SagaId, Status, Timestamp};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::distributed::lots;
use super::failure::classify;
use super::group::Batch;
use super::lane::Work;
use crate::row::{self, BacklogColumns, LogColumns, SagaColumns, integer, json};

/// Above every id in the order of ids.
const LAST: [u8; 16] = [0xff; 16];

#[async_trait]
impl SagaLog for PostgresStore {
    fn buckets(&self) -> u16 {
        self.buckets
    }

    async fn start(&self, saga: NewSaga) -> Result<StartOutcome, StoreError> {
        let unowned = saga.owner.is_none();
        let lane = saga.id.bucket().number() as usize % self.starts.len();
        let outcome = self.starts[lane].send(saga).await??;
        if unowned && outcome == StartOutcome::Created {
            self.hint.give();
        }
        Ok(outcome)
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let (id, epoch, seq) = (append.id, append.row.epoch, append.row.seq);
        // One saga always takes the same lane, so its appends keep their order.
        let share = if self.distributed { id.bucket().number() as u64 } else { id.seed() };
        let lane = (share % self.appends.len() as u64) as usize;
        match self.appends[lane].send(append).await? {
            Appended::Done | Appended::Before => Ok(()),
            Appended::Fenced => Err(AppendError::Fenced { id, epoch, seq }),
        }
    }

    async fn load(&self, id: SagaId) -> Result<Option<(SagaRow, Vec<LogRow>)>, StoreError> {
        let Some((row, log)) = self.lanes.run(Load { id }).await? else { return Ok(None) };
        let row = row::saga(row)?;
        let log: Vec<_> =
            log.into_iter().map(|columns| row::log(id, columns)).collect::<Result<_, _>>()?;
        // The log is only ever appended to: cut to the row's position it is of the row's instant.
        let log = log.into_iter().filter(|entry| entry.seq <= row.seq).collect();
        Ok(Some((row, log)))
    }

    async fn row(&self, id: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.lanes.run(Row { id }).await?.map(row::saga).transpose()
    }

    async fn log(&self, id: SagaId, after: u64, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let rows = self.lanes.run(Log { id, after, limit: i64::from(limit) }).await?;
        rows.into_iter().map(|columns| row::log(id, columns)).collect()
    }

    async fn find(&self, query: &Query) -> Result<Vec<SagaRow>, StoreError> {
        let found = self.lanes.run(Find { query: query.clone(), buckets: self.buckets }).await?;
        let mut found = found.into_iter().map(row::saga).collect::<Result<Vec<_>, _>>()?;
        let statuses = &query.statuses;
        found.retain(|row| statuses.is_empty() || statuses.contains(&row.summary.status));
        found.sort_unstable_by_key(|row| std::cmp::Reverse(row.id));
        found.dedup_by_key(|row| row.id);
        found.truncate(query.page() as usize);
        Ok(found)
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, StoreError> {
        row::counts(self.lanes.run(Counts).await?)
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.lanes.run(CountBacklog).await.map(row::backlog)
    }

    async fn forget(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        self.forget_ended(age, limit).await
    }
}

/// Starts, many in one statement.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    /// Each bucket by a statement of its own.
    pub(super) distributed: bool,
}

#[async_trait]
impl Batch for Starts {
    type Item = NewSaga;
    type Outcome = Result<StartOutcome, StoreError>;

    const WHAT: &'static str = "starting sagas";

    async fn run(
        &self,
        db: &mut PgConnection,
        items: &[NewSaga],
    ) -> Result<Vec<Self::Outcome>, Error> {
        let mut created: HashSet<Vec<u8>> = HashSet::new();
        for lot in lots(self.distributed, items, |saga| saga.id) {
            created.extend(insert_all(db, &lot.items, lot.bucket).await?);
        }
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            outcomes.push(match created.contains(&item.id.to_bytes()[..]) {
                true => Ok(StartOutcome::Created),
                false => existing_or_new(db, item, self.distributed).await?,
            });
        }
        Ok(outcomes)
    }
}

/// Inserts what is new; with a bucket, all items are of that one.
async fn insert_all(
    db: &mut PgConnection,
    items: &[NewSaga],
    bucket: Option<i32>,
) -> Result<Vec<Vec<u8>>, Error> {
    let ids = column(items, |saga| saga.id.to_bytes());
    let owners = column(items, |saga| saga.owner.map(|owner| owner.to_bytes()));
    let query = match bucket {
        None => sqlx::query_scalar(include_str!("start.sql"))
            .bind(column(items, |saga| saga.id.bucket().number())),
        Some(bucket) => sqlx::query_scalar(include_str!("distributed/start.sql")).bind(bucket),
    };
    query
        .bind(column(&ids, |id| &id[..]))
        .bind(column(items, |saga| saga.definition.name.as_str()))
        .bind(column(items, |saga| i64::from(saga.definition.version)))
        .bind(column(items, |saga| &saga.definition.digest.as_bytes()[..]))
        .bind(column(items, |saga| saga.key.as_ref().map(|key| key.as_str())))
        .bind(column(items, |saga| &saga.input_digest.as_bytes()[..]))
        .bind(column(items, |saga| integer(saga.first.seq)))
        .bind(column(items, |saga| integer(saga.first.epoch)))
        .bind(column(&owners, |owner| owner.as_ref().map(|owner| &owner[..])))
        .bind(column(items, |saga| saga.first.at.as_micros()))
        .bind(column(items, |saga| saga.summary.status.as_str()))
        .bind(column(items, |saga| saga.summary.next_wake_at.map(Timestamp::as_micros)))
        .bind(column(items, |saga| saga.summary.wait.as_ref().map(json)))
        .bind(column(items, |saga| saga.summary.ended_at.map(Timestamp::as_micros)))
        .bind(column(items, |saga| saga.first.body.as_str()))
        .bind(column(items, |saga| &saga.first.digest.as_bytes()[..]))
        .fetch_all(db)
        .await
}

/// The saga that stood in the way of a start; when retention has deleted it in between, nothing
/// stands in the way any more.
async fn existing_or_new(
    db: &mut PgConnection,
    saga: &NewSaga,
    distributed: bool,
) -> Result<Result<StartOutcome, StoreError>, Error> {
    let bucket = distributed.then(|| saga.id.bucket().number());
    loop {
        let existing: Option<(Vec<u8>, Vec<u8>)> =
            sqlx::query_as(include_str!("start_existing.sql"))
                .bind(saga.id.bucket().number())
                .bind(&saga.id.to_bytes()[..])
                .bind(saga.key.as_ref().map(|key| key.as_str()))
                .bind(&saga.definition.name)
                .fetch_optional(&mut *db)
                .await?;
        if let Some((id, digest)) = existing {
            return Ok(row::saga_id("saga", &id).and_then(|id| {
                let same_input = row::same_input(id, &digest, saga.input_digest)?;
                Ok(StartOutcome::Existing { id, same_input })
            }));
        }
        if !insert_all(db, std::slice::from_ref(saga), bucket).await?.is_empty() {
            return Ok(Ok(StartOutcome::Created));
        }
    }
}

/// A start inside a transaction of the caller.
pub(super) async fn start_in(
    db: &mut PgConnection,
    saga: &NewSaga,
    distributed: bool,
) -> Result<StartOutcome, StoreError> {
    let outcomes = Starts { distributed }.run(db, std::slice::from_ref(saga)).await;
    let outcome = outcomes.map_err(|error| classify(Starts::WHAT, &error))?.pop();
    outcome.unwrap_or_else(|| Err(StoreError::Corrupt("a start without an outcome".to_owned())))
}

/// Appends, many in one statement.
#[derive(Clone, Debug)]
pub(super) struct Appends {
    /// Each bucket by a statement of its own.
    pub(super) distributed: bool,
}

/// What became of an append.
#[derive(Clone, Copy, Debug)]
pub(super) enum Appended {
    Done,
    Before,
    Fenced,
}

#[async_trait]
impl Batch for Appends {
    type Item = Append;
    type Outcome = Appended;

    const WHAT: &'static str = "appending to sagas";

    async fn run(&self, db: &mut PgConnection, items: &[Append]) -> Result<Vec<Appended>, Error> {
        let mut outcomes = vec![Appended::Fenced; items.len()];
        for lot in lots(self.distributed, items, |append| append.id) {
            let mut note = |nth: Vec<i64>, outcome| {
                for nth in nth {
                    if let Some(at) = lot.place(nth).and_then(|at| outcomes.get_mut(at)) {
                        *at = outcome;
                    }
                }
            };
            let moved = append_all(&mut *db, &lot.items, lot.bucket).await?;
            let missing = moved.len() < lot.items.len();
            note(moved, Appended::Done);
            if missing {
                note(repeated(&mut *db, &lot.items, lot.bucket).await?, Appended::Before);
            }
        }
        Ok(outcomes)
    }
}

/// Appends what may be appended; with a bucket, all items are of that one.
async fn append_all(
    db: &mut PgConnection,
    items: &[Append],
    bucket: Option<i32>,
) -> Result<Vec<i64>, Error> {
    let ids = column(items, |append| append.id.to_bytes());
    let owners = column(items, |append| append.owner.to_bytes());
    let query = match bucket {
        None => sqlx::query_scalar(include_str!("append.sql"))
            .bind(column(items, |append| append.id.bucket().number())),
        Some(bucket) => sqlx::query_scalar(include_str!("distributed/append.sql")).bind(bucket),
    };
    query
        .bind(column(&ids, |id| &id[..]))
        .bind(column(&owners, |owner| &owner[..]))
        .bind(column(items, |append| integer(append.row.epoch)))
        .bind(column(items, |append| integer(append.row.seq)))
        .bind(column(items, |append| append.row.at.as_micros()))
        .bind(column(items, |append| append.row.body.as_str()))
        .bind(column(items, |append| &append.row.digest.as_bytes()[..]))
        .bind(column(items, |append| append.summary.status.as_str()))
        .bind(column(items, |append| append.summary.next_wake_at.map(Timestamp::as_micros)))
        .bind(column(items, |append| append.summary.wait.as_ref().map(json)))
        .bind(column(items, |append| append.summary.ended_at.map(Timestamp::as_micros)))
        .bind(column(items, |append| append.release || !append.summary.status.is_alive()))
        .fetch_all(db)
        .await
}

async fn repeated(
    db: &mut PgConnection,
    items: &[Append],
    bucket: Option<i32>,
) -> Result<Vec<i64>, Error> {
    let ids = column(items, |append| append.id.to_bytes());
    let query = match bucket {
        None => sqlx::query_scalar(include_str!("append_repeated.sql"))
            .bind(column(items, |append| append.id.bucket().number())),
        Some(bucket) => {
            sqlx::query_scalar(include_str!("distributed/append_repeated.sql")).bind(bucket)
        }
    };
    query
        .bind(column(&ids, |id| &id[..]))
        .bind(column(items, |append| integer(append.row.seq)))
        .bind(column(items, |append| integer(append.row.epoch)))
        .bind(column(items, |append| append.row.at.as_micros()))
        .bind(column(items, |append| append.row.body.as_str()))
        .bind(column(items, |append| &append.row.digest.as_bytes()[..]))
        .fetch_all(db)
        .await
}

fn column<'a, I, T>(items: &'a [I], of: impl Fn(&'a I) -> T) -> Vec<T> {
    items.iter().map(of).collect()
}

struct Row {
    id: SagaId,
}

#[async_trait]
impl Work for Row {
    type Outcome = Option<SagaColumns>;

    fn what(&self) -> String {
        format!("reading table saga, row {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("row.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .fetch_optional(db)
            .await
    }
}

struct Log {
    id: SagaId,
    after: u64,
    limit: i64,
}

#[async_trait]
impl Work for Log {
    type Outcome = Vec<LogColumns>;

    fn what(&self) -> String {
        format!("reading table saga_log, rows of {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("log.sql"))
            .bind(self.id.bucket().number())
            .bind(&self.id.to_bytes()[..])
            .bind(integer(self.after))
            .bind(self.limit)
            .fetch_all(db)
            .await
    }
}

/// The row first, then the log, which can only have grown since.
struct Load {
    id: SagaId,
}

#[async_trait]
impl Work for Load {
    type Outcome = Option<(SagaColumns, Vec<LogColumns>)>;

    fn what(&self) -> String {
        format!("reading saga {}", self.id)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        let Some(row) = (Row { id: self.id }).run(&mut *db).await? else { return Ok(None) };
        let log = Log { id: self.id, after: 0, limit: i64::MAX }.run(&mut *db).await?;
        // No saga is without a log, unless retention has deleted both in between.
        if log.is_empty() && (Row { id: self.id }).run(db).await?.is_none() {
            return Ok(None);
        }
        Ok(Some((row, log)))
    }
}

/// Each status is read on its own, in the order of an index; the pages are merged afterwards.
struct Find {
    query: Query,
    buckets: u16,
}

#[async_trait]
impl Work for Find {
    type Outcome = Vec<SagaColumns>;

    fn what(&self) -> String {
        "reading table saga".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        let Query { statuses, name, key, before, .. } = &self.query;
        let before = before.map_or(LAST, SagaId::to_bytes);
        if let Some(key) = key {
            return sqlx::query_as(include_str!("find_key.sql"))
                .bind(&before[..])
                .bind(name)
                .bind(i64::from(Query::LIMIT_MAX))
                .bind(Bucket::of(key.as_str(), self.buckets).number())
                .bind(key.as_str())
                .fetch_all(db)
                .await;
        }
        let all =
            Status::ALL.iter().filter(|status| statuses.is_empty() || statuses.contains(status));
        let mut found = Vec::new();
        for status in all {
            let page: Vec<SagaColumns> = sqlx::query_as(include_str!("find_status.sql"))
                .bind(&before[..])
                .bind(name)
                .bind(i64::from(self.query.page()))
                .bind(status.as_str())
                .fetch_all(&mut *db)
                .await?;
            found.extend(page);
        }
        Ok(found)
    }
}

struct Counts;

#[async_trait]
impl Work for Counts {
    type Outcome = Vec<(String, i64)>;

    fn what(&self) -> String {
        "counting table saga".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("counts.sql")).fetch_all(db).await
    }
}

struct CountBacklog;

#[async_trait]
impl Work for CountBacklog {
    type Outcome = Vec<BacklogColumns>;

    fn what(&self) -> String {
        "counting what waits".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("backlog.sql")).fetch_all(db).await
    }
}
