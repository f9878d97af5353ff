//! Starting a saga: by the writer, or inside a transaction of the caller.

use std::borrow::Cow;

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Result, params_from_iter};
use saga_core::store::{NewSaga, StartOutcome, StoreError};
use saga_core::{LogRow, SagaId, Status, Timestamp};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

use super::failure::classify;
use super::statement::{execute, one};
use super::writer::Change;
use super::{BUCKET, BUCKETS};
use crate::row::{self, integer, json};

impl Change for NewSaga {
    type Outcome = Result<StartOutcome, StoreError>;

    fn run(&self, db: &Connection) -> Result<Self::Outcome> {
        let created = execute(db, include_str!("start.sql"), params_from_iter(state_values(self)))?;
        if created == 1 {
            let row = log_values(self.id, &self.first, self.summary.status);
            execute(db, include_str!("append_log.sql"), params_from_iter(row))?;
            return Ok(Ok(StartOutcome::Created));
        }
        let values = params_from_iter(existing_values(self));
        let existing = one(db, include_str!("start_existing.sql"), values)?;
        Ok(found(self, existing))
    }

    fn makes_due(&self, outcome: &Self::Outcome) -> bool {
        self.owner.is_none() && matches!(outcome, Ok(StartOutcome::Created))
    }
}

/// A start inside a transaction of the caller.
pub(super) async fn start_in(
    db: &mut SqliteConnection,
    saga: &NewSaga,
) -> Result<StartOutcome, StoreError> {
    check_bucket(saga.id)?;
    let failed = |error| classify("starting a saga", &error);
    let created = bound(include_str!("start.sql"), state_values(saga)).execute(&mut *db).await;
    if created.map_err(failed)?.rows_affected() == 1 {
        let row = log_values(saga.id, &saga.first, saga.summary.status);
        bound(include_str!("append_log.sql"), row).execute(db).await.map_err(failed)?;
        return Ok(StartOutcome::Created);
    }
    let existing = bound(include_str!("start_existing.sql"), existing_values(saga));
    let existing = existing.fetch_one(db).await.map_err(failed)?;
    let column = |nth: usize| sqlx::Row::try_get(&existing, nth).map_err(failed);
    found(saga, (column(0)?, column(1)?))
}

/// An id made for another number of buckets would be looked for elsewhere.
pub(super) fn check_bucket(id: SagaId) -> Result<(), StoreError> {
    let bucket = id.bucket().number();
    if bucket == BUCKET {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "saga id {id} carries bucket {bucket}, and this store has {BUCKETS}: make ids with the number of buckets the store tells"
    )))
}

/// The saga that stood in the way of a start, from its id and the digest of its input.
fn found(saga: &NewSaga, existing: (Vec<u8>, Vec<u8>)) -> Result<StartOutcome, StoreError> {
    let (id, digest) = existing;
    let id = row::saga_id("saga", &id)?;
    let same_input = row::same_input(id, &digest, saga.input_digest)?;
    Ok(StartOutcome::Existing { id, same_input })
}

/// A value for either of the two drivers.
pub(super) enum Cell<'a> {
    Null,
    Integer(i64),
    Text(Cow<'a, str>),
    /// Identities and digests, the only binary columns there are.
    Sixteen([u8; 16]),
}

impl<'a> Cell<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    fn instant(at: Option<Timestamp>) -> Self {
        at.map_or(Self::Null, |at| Self::Integer(at.as_micros()))
    }
}

/// For `start.sql`.
fn state_values(saga: &NewSaga) -> [Cell<'_>; 15] {
    let NewSaga { id, definition, key, input_digest, first, summary, owner } = saga;
    [
        Cell::Integer(i64::from(BUCKET)),
        Cell::Sixteen(id.to_bytes()),
        Cell::text(&definition.name),
        Cell::Integer(i64::from(definition.version)),
        Cell::Sixteen(*definition.digest.as_bytes()),
        key.as_ref().map_or(Cell::Null, |key| Cell::text(key.as_str())),
        Cell::Sixteen(*input_digest.as_bytes()),
        Cell::Integer(integer(first.seq)),
        Cell::Integer(integer(first.epoch)),
        owner.map_or(Cell::Null, |owner| Cell::Sixteen(owner.to_bytes())),
        Cell::instant(Some(first.at)),
        Cell::text(summary.status.as_str()),
        Cell::instant(summary.next_wake_at),
        summary.wait.as_ref().map_or(Cell::Null, |wait| Cell::Text(json(wait).into())),
        Cell::instant(summary.ended_at),
    ]
}

/// For `append_log.sql`.
pub(super) fn log_values(id: SagaId, row: &LogRow, status: Status) -> [Cell<'_>; 8] {
    [
        Cell::Integer(i64::from(id.bucket().number())),
        Cell::Sixteen(id.to_bytes()),
        Cell::Integer(integer(row.seq)),
        Cell::Integer(integer(row.epoch)),
        Cell::instant(Some(row.at)),
        Cell::text(&row.body),
        Cell::Sixteen(*row.digest.as_bytes()),
        Cell::text(status.as_str()),
    ]
}

/// For `start_existing.sql`.
fn existing_values(saga: &NewSaga) -> [Cell<'_>; 4] {
    [
        Cell::Integer(i64::from(BUCKET)),
        Cell::Sixteen(saga.id.to_bytes()),
        saga.key.as_ref().map_or(Cell::Null, |key| Cell::text(key.as_str())),
        Cell::text(&saga.definition.name),
    ]
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Sixteen(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// A statement of the other driver with its values.
fn bound<'a>(
    sql: &'static str,
    values: impl IntoIterator<Item = Cell<'a>>,
) -> sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments> {
    values.into_iter().fold(sqlx::query(sql), |query, value| match value {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(value) => query.bind(value),
        Cell::Text(text) => query.bind(text.into_owned()),
        Cell::Sixteen(bytes) => query.bind(bytes.to_vec()),
    })
}
