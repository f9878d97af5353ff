//! Counters of PostgreSQL. Those of its statistics views lag by up to ten seconds; these do not.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::{Builder, Runtime};

/// The end of the write-ahead log, in bytes, and the number of the next transaction that writes.
/// A transaction that only reads gets no number.
const COUNTERS: &str = "SELECT
    (pg_current_wal_insert_lsn() - '0/0')::float8,
    pg_snapshot_xmax(pg_current_snapshot())::text::float8";

/// A connection of their own.
#[derive(Debug)]
pub(super) struct Counters {
    db: PgConnection,
    runtime: Runtime,
}

impl Counters {
    pub(super) fn open(url: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let db = runtime.block_on(PgConnection::connect(url))?;
        Ok(Self { db, runtime })
    }

    /// Bytes of write-ahead log and writing transactions, since the server was made.
    pub(super) fn read(&mut self) -> anyhow::Result<(f64, f64)> {
        let counters = sqlx::query_as(COUNTERS).fetch_one(&mut self.db);
        Ok(self.runtime.block_on(counters)?)
    }
}
