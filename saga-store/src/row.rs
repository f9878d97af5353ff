//! Rows as databases hold them, and the core types they stand for. Knows no SQL dialect.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use saga_core::store::{
    AuditEntry, AuditOutcome, Backlog, CommandAnswer, Cursor, FeedEntry, SagaRow, StoreError,
    Summary, WorkerCard, WorkerRow,
};
use saga_core::{
    AuditId, Command, DefinitionRef, DefinitionSpec, Digest, IdempotencyKey, LogRow, SagaId,
    Status, Timestamp, WorkerId,
};
use serde::de::DeserializeOwned;

/// Of the table `saga`: `id, name, version, digest, key, seq, epoch, owner, claims, started_at,
/// status, next_wake_at, wait, ended_at`.
pub(crate) type SagaColumns = (
    Vec<u8>,
    String,
    i64,
    Vec<u8>,
    Option<String>,
    i64,
    i64,
    Option<Vec<u8>>,
    i64,
    i64,
    String,
    Option<i64>,
    Option<String>,
    Option<i64>,
);

/// Of the table `saga_log`: `seq, epoch, at, body, digest`.
pub(crate) type LogColumns = (i64, i64, i64, String, Vec<u8>);

/// Of the tables `saga_log` and `saga`, for the feed.
pub(crate) struct FeedColumns {
    /// Number of the transaction, or of the row.
    pub(crate) turn: i64,
    pub(crate) id: Vec<u8>,
    pub(crate) name: String,
    pub(crate) version: i64,
    pub(crate) definition: Vec<u8>,
    pub(crate) key: Option<String>,
    pub(crate) status: String,
    pub(crate) log: LogColumns,
}

/// Of the table `saga_command`: `saga_id, body`.
pub(crate) type PendingColumns = (Vec<u8>, String);

/// Of the table `saga_worker`: `id, name, definitions, lease_until`, and whether it has run out.
pub(crate) type WorkerColumns = (Vec<u8>, String, String, i64, bool);

/// Of the table `saga_audit`: `id, actor, role, remote, action, target, reason, request_id, detail,
/// ended_at, status, problem`.
pub(crate) type AuditColumns = (
    Vec<u8>,
    String,
    String,
    Option<String>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

/// What can be read of some rows. One that cannot is named in the log of the process and left out:
/// it must not keep anybody from the others.
pub(crate) fn readable<C, T>(
    rows: Vec<C>,
    read: impl Fn(C) -> Result<T, StoreError>,
    what: &str,
) -> Vec<T> {
    let read = |row| {
        let row = read(row);
        row.inspect_err(|error| tracing::error!(%error, "left out of {what}: it cannot be read"))
            .ok()
    };
    rows.into_iter().filter_map(read).collect()
}

/// A command and the saga it is for.
pub(crate) fn pending((id, body): PendingColumns) -> Result<(SagaId, Command), StoreError> {
    let id = saga_id("saga_command", &id)?;
    Ok((id, command(id, &body)?))
}

/// About how many log rows leave at once when sagas are forgotten, so that the transaction stays
/// short whatever the length of their logs.
pub(crate) const FORGOTTEN_ROWS_MAX: i64 = 2_000;

/// A state row.
pub(crate) fn saga(columns: SagaColumns) -> Result<SagaRow, StoreError> {
    let (id, name, version, digest, key, seq, epoch, owner, claims, started_at, ..) = &columns;
    let (.., status, next_wake_at, wait, ended_at) = &columns;
    let id = saga_id("saga", id)?;
    let cell = Cell { table: "saga", row: &id };
    Ok(SagaRow {
        id,
        definition: DefinitionRef {
            name: name.clone(),
            version: cell.number("version", *version)?,
            digest: Digest::from_bytes(cell.sixteen("digest", digest)?),
        },
        key: key.as_deref().map(|key| cell.key("key", key)).transpose()?,
        seq: cell.number("seq", *seq)?,
        epoch: cell.number("epoch", *epoch)?,
        owner: match owner {
            Some(owner) => Some(WorkerId::from_bytes(cell.sixteen("owner", owner)?)),
            None => None,
        },
        claims: cell.number("claims", *claims)?,
        started_at: Timestamp::from_micros(*started_at),
        summary: Summary {
            status: Status::parse(status).ok_or_else(|| cell.corrupt("status", status))?,
            next_wake_at: next_wake_at.map(Timestamp::from_micros),
            wait: wait.as_deref().map(|wait| cell.json("wait", wait)).transpose()?,
            ended_at: ended_at.map(Timestamp::from_micros),
        },
    })
}

/// A log row of the given saga.
pub(crate) fn log(id: SagaId, columns: LogColumns) -> Result<LogRow, StoreError> {
    let (seq, epoch, at, body, digest) = columns;
    let cell = Cell { table: "saga_log", row: &format_args!("{id} seq {seq}") };
    Ok(LogRow {
        seq: cell.number("seq", seq)?,
        epoch: cell.number("epoch", epoch)?,
        at: Timestamp::from_micros(at),
        digest: Digest::from_bytes(cell.sixteen("digest", &digest)?),
        body,
    })
}

/// The place right behind a row of the feed.
pub(crate) fn feed_place(after: Cursor, columns: &FeedColumns) -> Result<Cursor, StoreError> {
    let id = saga_id("saga_log", &columns.id)?;
    let cell = Cell { table: "saga_log", row: &id };
    let turn = cell.number("position", columns.turn)?;
    Ok(Cursor { turn, id, seq: cell.number("seq", columns.log.0)?, ..after })
}

/// The same for going on: behind all rows of its turn, where it cannot be read.
pub(crate) fn feed_behind(after: Cursor, columns: &FeedColumns) -> Cursor {
    feed_place(after, columns).unwrap_or_else(|_| {
        let behind = Cursor::behind(after.lineage, columns.turn.unsigned_abs());
        Cursor { catching_up: after.catching_up, ..behind }
    })
}

/// A row of the feed.
pub(crate) fn feed(after: Cursor, columns: FeedColumns) -> Result<FeedEntry, StoreError> {
    let cursor = feed_place(after, &columns)?;
    let FeedColumns { name, version, definition, key, status, log: row, .. } = columns;
    let id = cursor.id;
    let cell = Cell { table: "saga", row: &id };
    let digest = Digest::from_bytes(cell.sixteen("digest", &definition)?);
    Ok(FeedEntry {
        cursor,
        id,
        definition: DefinitionRef { name, version: cell.number("version", version)?, digest },
        key: key.map(|key| cell.key("key", &key)).transpose()?,
        status: Status::parse(&status).ok_or_else(|| cell.corrupt("status", &status))?,
        row: log(id, row)?,
    })
}

/// A worker on record.
pub(crate) fn worker(columns: WorkerColumns) -> Result<WorkerRow, StoreError> {
    let (id, name, definitions, lease_until, expired) = columns;
    let cell = Cell { table: "saga_worker", row: &hex(&id) };
    let id = WorkerId::from_bytes(cell.sixteen("id", &id)?);
    let definitions = cell.json("definitions", &definitions)?;
    let lease_until = Timestamp::from_micros(lease_until);
    Ok(WorkerRow { card: WorkerCard { id, name, definitions }, lease_until, expired })
}

/// A command for the given saga.
pub(crate) fn command(id: SagaId, body: &str) -> Result<Command, StoreError> {
    Cell { table: "saga_command", row: &id }.json("body", body)
}

/// The answer to a command for the given saga.
pub(crate) fn answer(id: SagaId, answer: &str) -> Result<CommandAnswer, StoreError> {
    Cell { table: "saga_command", row: &id }.json("answer", answer)
}

/// A definition.
pub(crate) fn definition(
    name: &str,
    version: u32,
    spec: &str,
) -> Result<DefinitionSpec, StoreError> {
    let row = format_args!("{name} v{version}");
    Cell { table: "saga_definition", row: &row }.json("spec", spec)
}

/// An entry of the audit trail.
pub(crate) fn audit(columns: AuditColumns) -> Result<AuditEntry, StoreError> {
    let (id, actor, role, remote, action, target, reason, request_id, detail, ..) = columns;
    let (.., ended_at, status, problem) = columns;
    let cell = Cell { table: "saga_audit", row: &hex(&id) };
    let outcome = match status.zip(ended_at) {
        Some((status, at)) => Some(AuditOutcome {
            at: Timestamp::from_micros(at),
            status: cell.number("status", status)?,
            problem,
        }),
        None => None,
    };
    let id = AuditId::from_bytes(cell.sixteen("id", &id)?);
    Ok(AuditEntry { id, actor, role, remote, action, target, reason, request_id, detail, outcome })
}

/// How many sagas have which status, from rows that may name a status more than once.
pub(crate) fn counts(rows: Vec<(String, i64)>) -> Result<Vec<(Status, u64)>, StoreError> {
    let cell = Cell { table: "saga", row: &"(any)" };
    let mut counts = BTreeMap::new();
    for (status, sagas) in rows {
        let known = Status::parse(&status).ok_or_else(|| cell.corrupt("status", &status))?;
        *counts.entry(known).or_default() += cell.number::<u64>("count", sagas)?;
    }
    Ok(counts.into_iter().collect())
}

/// The identity of a saga, from a column of this table.
/// A row of `backlog.sql`: what waits, why, how many of it, since when.
pub(crate) type BacklogColumns = (String, Option<String>, i64, Option<i64>);

/// Puts what waits together.
pub(crate) fn backlog(rows: Vec<BacklogColumns>) -> Backlog {
    let mut backlog = Backlog::default();
    for (what, why, count, since) in rows {
        let (count, since) = (count.max(0).unsigned_abs(), since.map(Timestamp::from_micros));
        match what.as_str() {
            "due" => (backlog.due, backlog.due_since) = (count, since),
            "unanswered" => (backlog.unanswered, backlog.unanswered_since) = (count, since),
            "stuck" => {
                backlog.stuck.push((why.unwrap_or_else(|| "unreadable".to_owned()), count));
            }
            _ => backlog.at = since.unwrap_or_default(),
        }
    }
    backlog.stuck.sort();
    backlog
}

pub(crate) fn saga_id(table: &'static str, bytes: &[u8]) -> Result<SagaId, StoreError> {
    Cell { table, row: &hex(bytes) }.sixteen("id", bytes).map(SagaId::from_bytes)
}

/// Whether a start was given the input that this saga was started with.
pub(crate) fn same_input(id: SagaId, stored: &[u8], given: Digest) -> Result<bool, StoreError> {
    let cell = Cell { table: "saga", row: &id };
    Ok(Digest::from_bytes(cell.sixteen("input_digest", stored)?) == given)
}

/// A count or position as databases keep it. None reaches 2^63; one that did would match nothing.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Microseconds, short enough to be added to the present, or taken from it, without an overflow.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// JSON text of a value of the core, to be stored.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("the core's types hold only text, numbers and JSON")
}

/// Where a value was read, to name the place when it makes no sense.
struct Cell<'a> {
    table: &'static str,
    row: &'a dyn Display,
}

impl Cell<'_> {
    fn corrupt(&self, column: &str, found: impl Display) -> StoreError {
        let found: String = found.to_string().chars().take(80).collect();
        let Self { table, row } = self;
        StoreError::Corrupt(format!("table {table}, row {row}, column {column}: {found:?}"))
    }

    fn number<T: TryFrom<i64>>(&self, column: &str, value: i64) -> Result<T, StoreError> {
        T::try_from(value).map_err(|_| self.corrupt(column, value))
    }

    fn sixteen(&self, column: &str, bytes: &[u8]) -> Result<[u8; 16], StoreError> {
        bytes.try_into().map_err(|_| self.corrupt(column, hex(bytes)))
    }

    fn key(&self, column: &str, text: &str) -> Result<IdempotencyKey, StoreError> {
        IdempotencyKey::new(text).map_err(|_| self.corrupt(column, text))
    }

    fn json<T: DeserializeOwned>(&self, column: &str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text)
            .map_err(|error| self.corrupt(column, format_args!("{error} in {text}")))
    }
}

/// Hexadecimal digits of an identity.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first text behind all that begin with `prefix`, in the order of bytes.
pub(crate) fn after_prefix(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}
