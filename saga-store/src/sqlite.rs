//! A store in one SQLite file.

mod audit;
mod definitions;
mod failure;
mod feed;
mod hint;
mod inbox;
mod leases;
mod open;
mod read;
mod registers;
mod retention;
mod sagas;
mod schema;
mod session;
mod start;
mod statement;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use saga_core::store::{NewSaga, StartOutcome, StoreError};
use sqlx::SqliteConnection;

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
/// brings its schema up to date. Reads run on the caller's tokio runtime; the one writer has a
/// thread of its own, which ends when the last clone is dropped and all is written.
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
        options.prepare().await?;
        let hint = Arc::new(Hint::new(options.wal()));
        let writer = Writer::start(Session::new(options.clone()), hint.clone())?;
        let reader = Reader::new(options);
        Ok(Self { reader, writer, hint, turn: Arc::default() })
    }

    /// Starts a saga inside the caller's own transaction: what the caller writes and the saga
    /// appear together at the commit, or not at all. The transaction has to be on the same file,
    /// and begun with `BEGIN IMMEDIATE`: one that reads first may find the file locked when it
    /// wants to write.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use saga_core::store::SagaLog as _;
    /// # use saga_core::store::{NewSaga, Summary};
    /// # use saga_core::{Bucket, Definition, Digest, Failure, Payload, Saga, SagaId, StartRequest, Status, Step, Timestamp};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// let store = saga_store::SqliteStore::open(&path).await?;
    /// let shop = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await?;
    /// sqlx::query("CREATE TABLE orders (number TEXT)").execute(&shop).await?;
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let definition = Definition::new("place-order", [Step::pivot("work", work)])?;
    /// # let now = Timestamp::from_micros(0);
    /// # let request = StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
    /// # let id = SagaId::new(0, 0, Bucket::of("order-17", 1));
    /// # let (mut started, events) = Saga::start(id, definition.spec().clone(), now, request);
    /// # let summary = Summary { status: Status::Running, next_wake_at: Some(now), wait: None, ended_at: None };
    /// # let saga = NewSaga { id, definition: definition.spec().reference(), key: None, input_digest: Digest::of(&[]), first: started.seal(0, now, &events), summary, owner: None };
    ///
    /// // let saga = client.start("place-order", &order).key("order-17").prepare().await?;
    /// let mut transaction = shop.begin_with("BEGIN IMMEDIATE").await?;
    /// sqlx::query("INSERT INTO orders VALUES ('order-17')").execute(&mut *transaction).await?;
    /// store.start_in(&mut transaction, &saga).await?;
    /// assert!(store.row(saga.id).await?.is_none()); // nobody sees it before the commit
    /// transaction.commit().await?;
    /// assert!(store.row(saga.id).await?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StoreError`] when a statement failed; roll the transaction back then.
    pub async fn start_in(
        &self,
        transaction: &mut SqliteConnection,
        saga: &NewSaga,
    ) -> Result<StartOutcome, StoreError> {
        start::start_in(transaction, saga).await
    }
}
