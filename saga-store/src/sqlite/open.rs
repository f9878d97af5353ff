//! Opening a database file: what is checked, and what is said when it cannot be used.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use saga_core::store::StoreError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, Error};

use super::failure::{classify, is_barred, is_busy};
use super::schema;
use crate::commits::OnCommit;
use crate::migrations::{PendingMigration, Upgrade, refused};

/// The oldest SQLite without the defect by which a reset of the write-ahead log could lose commits.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// How long one wait for the lock on the file lasts before it is begun afresh.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);

/// Pause between two looks at the lock on the file. SQLite's own waits get longer and longer, so
/// that of many processes some would be overtaken for seconds, and lose their leases.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// How long a read waits in the rare moments when it cannot go on at once: while another process
/// recovers the write-ahead log of one that was killed.
const READ_WAIT_MAX: Duration = Duration::from_secs(10);

/// How long opening waits for a process that keeps the file locked.
const OPEN_WAIT_MAX: Duration = Duration::from_secs(10);

/// The write-ahead log is cut back to this many bytes when it has been worked off.
const WAL_BYTES_KEPT: i64 = 67_108_864;

/// Pages in the write-ahead log at which it is worked off into the file. Four times SQLite's own
/// default: a page that changes often is then written to the file less often.
const CHECKPOINT_PAGES: i64 = 4_000;

/// Memory of the connection that writes for pages it has read or changed: so much, in KiB.
const CACHE_KIB: i64 = 32_768;

/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS_MAX: usize = 64;

/// Bytes of a page of the database file.
const PAGE_BYTES: u64 = 4_096;

/// Which database file to open, and how.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    path: PathBuf,
    create: bool,
    size_max: Option<u64>,
    upgrade: Upgrade,
    on_commit: Option<OnCommit>,
}

impl SqliteOptions {
    /// The file at `path`, created when it does not exist; its folder has to exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            create: true,
            size_max: None,
            upgrade: Upgrade::Allowed,
            on_commit: None,
        }
    }

    /// What a URL like `sqlite://saga.db` or `sqlite:///var/lib/saga/saga.db?mode=rw` names.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] naming the part that was not understood.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let unusable = |why: &str| StoreError::Unusable(format!("the URL {url:?} {why}"));
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| {
            unusable("does not name a SQLite database: expected sqlite://path/to/saga.db")
        })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(unusable("names no file: expected sqlite://path/to/saga.db"));
        }
        if path == ":memory:" {
            return Err(unusable(
                "is a database in memory, where nothing would be durable: name a file, or use saga_core::MemoryStore in tests",
            ));
        }
        let options = Self::new(path);
        match query {
            "" | "mode=rwc" => Ok(options),
            "mode=rw" => Ok(options.create(false)),
            _ => Err(unusable(
                "has an unknown parameter: expected ?mode=rwc (create the file when it is missing, the default) or ?mode=rw",
            )),
        }
    }

    /// Whether to create the file when it does not exist. Default: yes.
    #[must_use]
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// The size, in bytes, beyond which the file does not grow; rounded down to pages of 4 KiB.
    /// The write-ahead log beside it comes on top. At the bound writes fail with
    /// [`StoreError::Unavailable`], and go on when there is room again. Default: no bound.
    #[must_use]
    pub fn size_max(self, bytes: u64) -> Self {
        Self { size_max: Some(bytes), ..self }
    }

    /// Whether opening may create the schema or bring it up to date. Default: it may.
    #[must_use]
    pub fn upgrade(self, upgrade: Upgrade) -> Self {
        Self { upgrade, ..self }
    }

    /// The migrations that the file lacks; it is neither created nor changed.
    pub(crate) async fn pending(&self) -> Result<Vec<PendingMigration>, StoreError> {
        let lacking = async {
            if !self.path.exists() {
                return Ok(schema::all()?);
            }
            let mut db = self.to_look().connect().await?;
            let pending = schema::pending(&mut db).await?;
            db.close().await?;
            Ok(pending)
        };
        lacking.await.map_err(|error: Error| explain(&self.path, &error))
    }

    /// Who is told of every commit. Default: nobody.
    #[must_use]
    pub fn on_commit(self, on_commit: impl Into<Option<OnCommit>>) -> Self {
        Self { on_commit: on_commit.into(), ..self }
    }

    pub(super) fn told_of_commits(&self) -> Option<&OnCommit> {
        self.on_commit.as_ref()
    }

    /// A connection that reads.
    pub(super) fn connect_to_read(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_timeout(READ_WAIT_MAX)?;
        keep_plans(&db)?;
        Ok(db)
    }

    /// A connection that writes, to a file that exists. Hidden, for the benches, which measure the
    /// same statements without the store.
    #[doc(hidden)]
    pub fn connect_to_write(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.busy_handler(Some(wait_for_lock))?;
        keep_plans(&db)?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        db.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        if let Some(bytes) = self.size_max {
            let pages = i64::try_from(bytes / PAGE_BYTES).unwrap_or(i64::MAX);
            db.pragma_update(None, "max_page_count", pages)?;
        }
        Ok(db)
    }

    /// For a connection that changes nothing.
    fn to_look(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(READ_WAIT_MAX)
            .disable_statement_logging()
    }

    /// For the connection that creates the file and brings its schema up to date.
    fn to_prepare(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(self.create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        match self.size_max {
            Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).to_string()),
            None => options,
        }
    }

    /// The write-ahead log beside the file.
    pub(super) fn wal(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        name.into()
    }

    /// Creates the file where it may, checks that it can be relied on and brings its schema up to
    /// date.
    pub(crate) async fn prepare(&mut self) -> Result<(), StoreError> {
        self.path = std::path::absolute(&self.path)
            .map_err(|error| StoreError::Unusable(format!("{}: {error}", self.path.display())))?;
        check_path(&self.path, self.create)?;
        if self.upgrade == Upgrade::Refused {
            let pending = self.pending().await?;
            if !pending.is_empty() {
                return Err(refused(self.path.display(), &pending));
            }
        }
        let since = Instant::now();
        loop {
            match self.try_prepare().await {
                Ok(prepared) => return prepared,
                Err(error) if is_busy(cause(&error)) && since.elapsed() < OPEN_WAIT_MAX => {
                    // Some locks are refused without a wait, so this loop makes one of its own.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(explain(&self.path, &error)),
            }
        }
    }

    async fn try_prepare(&self) -> Result<Result<(), StoreError>, Error> {
        let mut db = self.to_prepare().connect().await?;
        let version: String =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut db).await?;
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut db).await?;
        if let Err(unusable) = check_version(&version).and(check_journal(&self.path, &journal)) {
            return Ok(Err(unusable));
        }
        schema::migrate(&mut db).await?;
        let buckets: i64 =
            sqlx::query_scalar(include_str!("buckets.sql")).fetch_one(&mut db).await?;
        db.close().await?;
        Ok(check_buckets(&self.path, buckets))
    }
}

/// Prepared statements stay prepared. Without the second setting SQLite plans a statement anew when a
/// value is bound that its planner had looked at, which for a short one is most of its work.
fn keep_plans(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

impl<P: AsRef<Path>> From<P> for SqliteOptions {
    fn from(path: P) -> Self {
        Self::new(path.as_ref())
    }
}

/// Whether to look at the lock again, after so many looks.
fn wait_for_lock(looks: i32) -> bool {
    if LOOK_EVERY.saturating_mul(looks.unsigned_abs()) >= BUSY_TIMEOUT {
        return false;
    }
    std::thread::sleep(LOOK_EVERY);
    true
}

fn check_path(path: &Path, create: bool) -> Result<(), StoreError> {
    let shown = path.display();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let home = folder.display();
    let why = match std::fs::metadata(folder) {
        _ if path.is_dir() => format!("{shown} is a folder: name a file in it, such as saga.db"),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            format!("there is no folder {home} to keep {shown} in: create it first")
        }
        Err(error) => format!(
            "the folder {home} cannot be used to keep {shown} in ({error}): it has to be a folder that this user may read and write"
        ),
        Ok(home) if !home.is_dir() => format!("{} is no folder", folder.display()),
        Ok(_) if !create && !path.exists() => {
            format!("there is no database {shown}, and creating it was ruled out by mode=rw")
        }
        Ok(_) => return Ok(()),
    };
    Err(StoreError::Unusable(why))
}

fn check_version(version: &str) -> Result<(), StoreError> {
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if parts.as_slice() >= SQLITE_MIN.as_slice() {
        return Ok(());
    }
    let [major, minor, patch] = SQLITE_MIN;
    Err(StoreError::Unusable(format!(
        "this program was linked with SQLite {version}, which can lose commits when it resets its write-ahead log: link {major}.{minor}.{patch} or newer"
    )))
}

fn check_journal(path: &Path, journal: &str) -> Result<(), StoreError> {
    if journal == "wal" {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "{} does not take a write-ahead log (its journal mode stays {journal:?}), probably because it lies on a network file system: keep it on a local disk",
        path.display()
    )))
}

fn check_buckets(path: &Path, buckets: i64) -> Result<(), StoreError> {
    if buckets == i64::from(super::BUCKETS) {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "{} was set up with {buckets} buckets, and this release works with {} on SQLite",
        path.display(),
        super::BUCKETS
    )))
}

/// What an error while opening means, in terms of the file.
fn explain(path: &Path, error: &Error) -> StoreError {
    let shown = path.display();
    match error {
        Error::Migrate(migrate) => match &**migrate {
            MigrateError::VersionMissing(version) => {
                return StoreError::Unusable(format!(
                    "{shown} has schema {version} of a newer release, and this one knows schemas up to {}: use the newer release",
                    schema::VERSION
                ));
            }
            MigrateError::VersionMismatch(version) => {
                return StoreError::Unusable(format!(
                    "{shown} was set up with another text of migration {version}: use the release that wrote it"
                ));
            }
            _ => {}
        },
        error if is_barred(error) => {
            return StoreError::Unusable(format!(
                "{shown} cannot be opened for writing ({error}): check the permissions of the file and of its folder"
            ));
        }
        _ => {}
    }
    classify(format_args!("opening {shown}"), cause(error))
}

/// The driver's error inside a failed migration.
fn cause(error: &Error) -> &Error {
    if let Error::Migrate(migrate) = error
        && let MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) = &**migrate
    {
        return inner;
    }
    error
}
