//! A store with a past: many finished sagas, put there quickly and as the engine would leave them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use saga_core::{
    Bucket, DefinitionSpec, Digest, IdempotencyKey, LogRow, Next, Payload, PlannedCall, Saga,
    SagaId, StartRequest, Stimulus, Timestamp,
};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::sqlite::Sqlite;
use sqlx::{Connection as _, QueryBuilder, SqliteConnection};

use crate::workload::{self, Order};

/// How long ago the youngest of them ended.
pub(crate) const AGE: Duration = Duration::from_secs(3_600);

/// Sagas written at once: five tables' worth of values stay below the limit of any statement.
const CHUNK: u64 = 1_000;
/// Chunks in one transaction.
const CHUNKS: u64 = 20;

/// A finished saga: its state row and its log.
struct Finished {
    id: SagaId,
    spec: Arc<DefinitionSpec>,
    key: String,
    input_digest: Digest,
    started_at: Timestamp,
    ended_at: Timestamp,
    status: &'static str,
    log: Vec<LogRow>,
}

/// Fills the store behind a URL with finished sagas, each with the four log rows of a saga of
/// three steps that went well. Their logs verify; the last of them ended [`AGE`] ago.
pub(crate) async fn fill(url: &str, sagas: u64) -> anyhow::Result<()> {
    // Opening it makes the tables.
    let buckets = saga_store::connect(url).await?.buckets();
    if let Some(path) = url.strip_prefix("sqlite://") {
        let mut db = SqliteConnection::connect(&format!("sqlite://{path}")).await?;
        // Durable as a whole at the checkpoint in the end, not at every commit.
        sqlx::query("PRAGMA synchronous = OFF").execute(&mut db).await?;
        for first in (0..sagas).step_by((CHUNK * CHUNKS) as usize) {
            let mut transaction = db.begin().await?;
            for chunk in chunks(first, sagas, buckets)? {
                into_sqlite(&mut transaction, &chunk).await?;
            }
            transaction.commit().await?;
        }
        // Or the system would go on writing all of it while the engine is measured.
        for settle in ["PRAGMA synchronous = FULL", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            sqlx::query(settle).execute(&mut db).await?;
        }
    } else if url.starts_with("postgres") {
        let mut db = PgConnection::connect(url).await?;
        for first in (0..sagas).step_by((CHUNK * CHUNKS) as usize) {
            let mut transaction = db.begin().await?;
            for chunk in chunks(first, sagas, buckets)? {
                into_postgres(&mut transaction, &chunk).await?;
            }
            transaction.commit().await?;
        }
        // As autovacuum would have left them long ago.
        for settle in ["VACUUM (ANALYZE) saga", "VACUUM (ANALYZE) saga_log", "CHECKPOINT"] {
            sqlx::query(settle).execute(&mut db).await?;
        }
    } else {
        bail!("the URL {url} names neither SQLite nor PostgreSQL: only these hold a history");
    }
    Ok(())
}

/// The sagas of one transaction, from number `first` on.
fn chunks(first: u64, sagas: u64, buckets: u16) -> anyhow::Result<Vec<Vec<Finished>>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock")?;
    let youngest = u64::try_from((now - AGE).as_micros())?;
    let spec = workload::definition(false)?.spec().clone();
    let until = (first + CHUNK * CHUNKS).min(sagas);
    let starts = (first..until).step_by(CHUNK as usize);
    starts
        .map(|start| {
            let numbers = start..(start + CHUNK).min(until);
            // A thousand a second, the last one long enough ago.
            let at = |number| youngest - (sagas - number) * 1_000;
            numbers.map(|number| finished(number, at(number), &spec, buckets)).collect()
        })
        .collect()
}

/// Runs a saga without a worker: the same events, in as many rows.
fn finished(
    number: u64,
    micros: u64,
    spec: &Arc<DefinitionSpec>,
    buckets: u16,
) -> anyhow::Result<Finished> {
    let key = format!("history-{number}");
    let random = Digest::of(&[key.as_bytes()]);
    let entropy = u128::from_be_bytes(*random.as_bytes());
    let id = SagaId::new(micros / 1_000, entropy, Bucket::of(&key, buckets));
    let input = Payload::encode(&Order::new(number))?;
    let input_digest = Digest::of(&[input.as_json().as_bytes()]);
    let started_at = Timestamp::from_micros(i64::try_from(micros)?);
    let request =
        StartRequest { input, key: Some(IdempotencyKey::new(&key)?), traceparent: None, by: None };
    let (mut saga, mut events) = Saga::start(id, spec.clone(), started_at, request);
    let (mut at, mut log) = (started_at, Vec::new());
    loop {
        let called = match saga.next(at) {
            Next::Call(calls) => Some(calls[0]),
            _ => None,
        };
        if let Some(call) = called {
            events.extend(saga.advance(at, Stimulus::Dispatch(call))?);
        }
        log.push(saga.seal(0, at, &events));
        let Some(call) = called else { break };
        at = at.after(Duration::from_micros(500));
        events = saga.advance(at, answered(call)?)?;
    }
    let (ended_at, _) = saga.ended().context("a saga of the history has not ended")?;
    let (ended_at, status) = (*ended_at, saga.status().as_str());
    let spec = spec.clone();
    Ok(Finished { id, spec, key, input_digest, started_at, ended_at, status, log })
}

fn answered(call: PlannedCall) -> anyhow::Result<Stimulus> {
    Ok(Stimulus::Answer { call, result: Ok(Payload::encode(&call.step)?) })
}

/// Writes sagas with one statement for each table; the two databases differ in one column.
macro_rules! write {
    ($database:ty, $db:expr, $sagas:expr, $more:literal, $none:literal) => {{
        let bytes = |bytes: &[u8; 16]| bytes.to_vec();
        let mut rows = QueryBuilder::<$database>::new(concat!(
            "INSERT INTO saga (bucket, id, name, version, digest, key, input_digest, status, seq,",
            " epoch, owner, claims, next_wake_at, wait, started_at, ended_at",
            $more,
            ") "
        ));
        rows.push_values($sagas, |mut row, saga| {
            row.push_bind(saga.id.bucket().number())
                .push_bind(bytes(&saga.id.to_bytes()))
                .push_bind(saga.spec.name.clone())
                .push_bind(i64::from(saga.spec.version))
                .push_bind(bytes(saga.spec.digest().as_bytes()))
                .push_bind(saga.key.clone())
                .push_bind(bytes(saga.input_digest.as_bytes()))
                .push_bind(saga.status)
                .push_bind(saga.log.len() as i64)
                .push("0, NULL, 0, NULL, NULL")
                .push_bind(saga.started_at.as_micros())
                .push_bind(saga.ended_at.as_micros());
            if !$none.is_empty() {
                row.push($none);
            }
        });
        rows.build().execute(&mut *$db).await?;
        let entries = $sagas.iter().flat_map(|saga| saga.log.iter().map(|row| (saga.id, row)));
        let mut rows = QueryBuilder::<$database>::new(
            "INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest) ",
        );
        rows.push_values(entries, |mut row, (id, entry)| {
            row.push_bind(id.bucket().number())
                .push_bind(bytes(&id.to_bytes()))
                .push_bind(entry.seq as i64)
                .push_bind(entry.epoch as i64)
                .push_bind(entry.at.as_micros())
                .push_bind(entry.body.clone())
                .push_bind(bytes(entry.digest.as_bytes()));
        });
        rows.build().execute(&mut *$db).await?;
    }};
}

async fn into_sqlite(db: &mut SqliteConnection, sagas: &[Finished]) -> anyhow::Result<()> {
    write!(Sqlite, db, sagas, "", "");
    Ok(())
}

async fn into_postgres(db: &mut PgConnection, sagas: &[Finished]) -> anyhow::Result<()> {
    write!(Postgres, db, sagas, ", unanswered", "0");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::Status;
    use saga_core::store::Query;

    /// Fills a store and reads it back as a worker would.
    async fn check(url: &str) -> anyhow::Result<()> {
        fill(url, 25).await?;
        let store = saga_store::connect(url).await?;
        assert_eq!(store.counts().await?, [(Status::Completed, 25)]);
        for row in store.find(&Query::default()).await? {
            let (row, log) = store.load(row.id).await?.context("it was found")?;
            assert_eq!((row.seq, log.len()), (4, 4));
            let spec = workload::definition(false)?.spec().clone();
            let saga = Saga::replay(row.id, spec, &log)?;
            assert_eq!(saga.ended().map(|(at, _)| *at), row.summary.ended_at);
        }
        assert_eq!(store.forget(AGE * 2, 100).await?, 0);
        assert_eq!(store.forget(AGE / 2, 100).await?, 25);
        Ok(())
    }

    #[tokio::test]
    async fn a_history_on_sqlite_holds_logs_that_verify_and_may_be_forgotten() -> anyhow::Result<()>
    {
        let folder = tempfile::tempdir()?;
        check(&format!("sqlite://{}/saga.db", folder.path().display())).await
    }

    mod postgres {
        #[tokio::test]
        async fn a_history_on_postgres_holds_logs_that_verify_and_may_be_forgotten()
        -> anyhow::Result<()> {
            super::check(&throwaway_postgres::fresh_database()?).await
        }
    }
}
