//! What a run left in the database, held against what it should have: speed counts only if the
//! work was done.

use anyhow::ensure;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, SqliteConnection};

use crate::floor::rows::Rows;
use crate::workload::Shape;

const SAGAS: &str = "SELECT count(*) FROM saga";
const WELL: &str = "SELECT count(*) FROM saga WHERE status = $1 AND ended_at IS NOT NULL";
const LOG: &str = "SELECT count(*) FROM saga_log";

/// Checks that every saga that was started is there with the verdict it should have, and with as
/// many log rows as one saga that ran alone.
pub(crate) async fn check(
    url: &str,
    started: u64,
    fail_last: bool,
    shape: Shape,
) -> anyhow::Result<()> {
    let status = if fail_last { "compensated" } else { "completed" };
    let [sagas, well, log] = counts(url, status).await?;
    let rows = Rows::of_one_saga_of(shape, fail_last).await?.all.len() as u64;
    ensure!(sagas == started, "{started} sagas were started, but {sagas} are on record");
    ensure!(well == started, "{started} sagas should be {status}, but {well} are");
    ensure!(
        log == started * rows,
        "{started} sagas of {rows} log rows each should have left {} rows, but there are {log}",
        started * rows
    );
    Ok(())
}

macro_rules! count {
    ($db:expr, $status:expr) => {{
        let sagas: i64 = sqlx::query_scalar(SAGAS).fetch_one(&mut $db).await?;
        let well: i64 = sqlx::query_scalar(WELL).bind($status).fetch_one(&mut $db).await?;
        let log: i64 = sqlx::query_scalar(LOG).fetch_one(&mut $db).await?;
        [sagas, well, log].map(i64::unsigned_abs)
    }};
}

async fn counts(url: &str, status: &str) -> anyhow::Result<[u64; 3]> {
    Ok(if url.starts_with("sqlite://") {
        let mut db = SqliteConnection::connect(url).await?;
        count!(db, status)
    } else {
        let mut db = PgConnection::connect(url).await?;
        count!(db, status)
    })
}
