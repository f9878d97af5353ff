//! A store in one SQLite file.

mod definitions;
mod failure;
mod hint;
mod inbox;
mod leases;
mod open;
mod read;
mod sagas;
mod schema;
mod session;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use saga_core::store::StoreError;

pub use open::SqliteOptions;

use hint::Hint;
use read::Reader;
use session::Session;
use writer::Writer;

/// All sagas are in one bucket: a file is not spread over machines.
const BUCKETS: u16 = 1;

/// Number of that bucket. Only ids from elsewhere carry another, and they match nothing.
const BUCKET: i32 = 0;

/// A durable store in a single SQLite file. Cheap to clone; clones share their connections.
///
/// Any number of processes on one machine may open the same file. Opening creates the file and
/// brings its schema up to date. It needs a tokio runtime, on which its writer lives until the
/// last clone is dropped.
///
/// # Durability
/// A change is answered after the transaction that holds it was committed and flushed to disk
/// (write-ahead log, `synchronous=FULL`). What was answered survives the end of the process at
/// any instant, and a loss of power as far as the disk and its file system honour a flush.
/// What was not answered is there completely or not at all; repeating it is safe. Changes of
/// concurrent callers share transactions, so the price of a flush is paid once for many.
///
/// Keep the file on a local disk: SQLite's write-ahead log does not work on network file
/// systems. The files with `-wal` and `-shm` at the end of their names belong to the database;
/// copy it with SQLite's own backup, not file by file, while it is in use.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    reader: Reader,
    writer: Writer,
    hint: Arc<Hint>,
    /// Counts claims, to let each definition be the first to be served in turn.
    turn: Arc<AtomicUsize>,
}

impl SqliteStore {
    /// Opens a database file, given by its path or by [`SqliteOptions`].
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use saga_store::{SqliteOptions, SqliteStore};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("saga.db");
    /// let store = SqliteStore::open(&path).await?;
    /// let bounded = SqliteStore::open(SqliteOptions::new(&path).size_max(1 << 30)).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file is no database, was written by a newer release, or
    /// cannot be created or written; [`StoreError::Unavailable`] when another process keeps it
    /// locked for more than ten seconds.
    pub async fn open(options: impl Into<SqliteOptions>) -> Result<Self, StoreError> {
        let mut options = options.into();
        let db = options.open().await?;
        let hint = Arc::new(Hint::new(options.wal()));
        let writer = Writer::start(Session::new(options.to_write(), db), hint.clone());
        let reader = Reader::new(options.to_read());
        Ok(Self { reader, writer, hint, turn: Arc::default() })
    }
}
