//! Sagas that have ended are put aside before retention deletes them, so that in the end every one of
//! them is judged: workers forget only what ended before the moment that a file names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::watch;

use super::crew::{Crew, now_micros};
use super::sql::{Place, Reader};

/// How often ended sagas are put aside.
const EVERY: Duration = Duration::from_millis(700);
/// How much later than its own time an end may become durable: longer than any append is on its way.
const LATE_MAX: Duration = Duration::from_secs(5);

/// The tables have the columns that the check reads, under the names that the store gives them.
const TABLES: &str = "\
    CREATE TABLE saga (bucket INTEGER, id BLOB, name TEXT, version INTEGER, digest BLOB, key TEXT, \
    status TEXT, seq INTEGER, epoch INTEGER, owner BLOB, next_wake_at INTEGER, started_at INTEGER, \
    ended_at INTEGER, PRIMARY KEY (bucket, id)); \
    CREATE TABLE saga_log (bucket INTEGER, saga_id BLOB, seq INTEGER, epoch INTEGER, at INTEGER, \
    body TEXT, digest BLOB, PRIMARY KEY (bucket, saga_id, seq));";
const ENDED: &str = "\
    SELECT CAST(bucket AS BIGINT), id, name, version, digest, key, status, seq, epoch, next_wake_at, \
    started_at, ended_at FROM saga WHERE ended_at >= $1";
const LOGS: &str = "\
    SELECT CAST(saga_log.bucket AS BIGINT), saga_log.saga_id, saga_log.seq, saga_log.epoch, \
    saga_log.at, saga_log.body, saga_log.digest FROM saga_log \
    JOIN saga ON saga.bucket = saga_log.bucket AND saga.id = saga_log.saga_id \
    WHERE saga.ended_at >= $1";
const KEEP_SAGA: &str = "\
    INSERT OR IGNORE INTO saga (bucket, id, name, version, digest, key, status, seq, epoch, \
    next_wake_at, started_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
const KEEP_ROW: &str = "INSERT OR IGNORE INTO saga_log VALUES ($1, $2, $3, $4, $5, $6, $7)";

type EndedColumns =
    (i64, Vec<u8>, String, i64, Vec<u8>, Option<String>, String, i64, i64, Option<i64>, i64, i64);
type LogColumns = (i64, Vec<u8>, i64, i64, i64, String, Vec<u8>);

/// Where ended sagas are put aside.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    file: PathBuf,
    until: PathBuf,
}

impl Archive {
    /// An archive in a folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { file: folder.join("archive.db"), until: folder.join("archived-until") }
    }

    /// The file that says up to when ended sagas are put aside.
    pub(super) fn until(&self) -> &Path {
        &self.until
    }

    /// Where to read what was put aside.
    pub(super) fn place(&self) -> Place {
        Place::Sqlite(self.file.clone())
    }

    async fn create(&self) -> anyhow::Result<SqliteConnection> {
        let options = SqliteConnectOptions::new().filename(&self.file).create_if_missing(true);
        let mut db = options.connect().await.context("cannot create the archive")?;
        sqlx::raw_sql(TABLES).execute(&mut db).await.context("cannot create its tables")?;
        Ok(db)
    }

    /// Tells workers that what ended before this moment may be forgotten.
    fn allow(&self, until: i64) -> anyhow::Result<()> {
        // Renamed, so that nobody reads half a number.
        let draft = self.until.with_extension("new");
        std::fs::write(&draft, until.to_string())
            .and_then(|()| std::fs::rename(&draft, &self.until))
            .with_context(|| format!("cannot write {}", self.until.display()))
    }
}

/// Puts ended sagas aside until `stop` says so.
///
/// # Errors
/// When the archive cannot be written.
pub(super) async fn keep(crew: Arc<Crew>, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut db = crew.archive.create().await?;
    let mut sagas = Reader::new(crew.ground.sagas());
    let mut since = 0;
    while !*stop.borrow() {
        let until = now_micros() - i64::try_from(LATE_MAX.as_micros()).unwrap_or(i64::MAX);
        // What cannot be read now is read the next time, and forgotten by nobody until then.
        if let Ok(ended) = read(&mut sagas, since).await {
            write(&mut db, ended).await.context("cannot write the archive")?;
            crew.archive.allow(until)?;
            since = until;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => {}
        }
    }
    Ok(())
}

async fn read(
    sagas: &mut Reader,
    since: i64,
) -> anyhow::Result<(Vec<EndedColumns>, Vec<LogColumns>)> {
    Ok((sagas.rows(ENDED, &[since]).await?, sagas.rows(LOGS, &[since]).await?))
}

/// What was put aside before stays as it was: whether it changed since is for the check to say.
async fn write(
    db: &mut SqliteConnection,
    (ended, logs): (Vec<EndedColumns>, Vec<LogColumns>),
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    for (bucket, id, name, version, digest, key, status, seq, epoch, wake, started, end) in ended {
        let kept = sqlx::query(KEEP_SAGA).bind(bucket).bind(id).bind(name).bind(version);
        let kept = kept.bind(digest).bind(key).bind(status).bind(seq).bind(epoch);
        kept.bind(wake).bind(started).bind(end).execute(&mut *tx).await?;
    }
    for (bucket, id, seq, epoch, at, body, digest) in logs {
        let kept = sqlx::query(KEEP_ROW).bind(bucket).bind(id).bind(seq).bind(epoch);
        kept.bind(at).bind(body).bind(digest).execute(&mut *tx).await?;
    }
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_put_aside_is_read_as_it_was_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        let mut db = archive.create().await.unwrap();
        let saga = |status: &str| {
            let (name, digest, id) = ("buy".to_owned(), vec![1; 16], vec![7; 16]);
            (0, id, name, 1, digest, None, status.to_owned(), 1, 0, None, 1, 2)
        };
        let row = |body: &str| (0, vec![7; 16], 1, 0, 1, body.to_owned(), vec![2; 16]);
        for (status, body) in [("completed", "[]"), ("running", "[1]")] {
            write(&mut db, (vec![saga(status)], vec![row(body)])).await.unwrap();
        }
        let mut reader = Reader::new(archive.place());
        let (ended, logs) = read(&mut reader, 2).await.unwrap();
        assert_eq!((ended, logs), (vec![saga("completed")], vec![row("[]")]));
        assert_eq!(read(&mut reader, 3).await.unwrap().0.len(), 0);
    }

    #[test]
    fn the_moment_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(folder.path());
        assert!(!archive.until().exists());
        archive.allow(17).unwrap();
        archive.allow(18).unwrap();
        assert_eq!(std::fs::read_to_string(archive.until()).unwrap(), "18");
    }
}
