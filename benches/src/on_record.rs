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
const MOVES: &str = "SELECT CAST(coalesce(sum(seq), 0) AS bigint) FROM saga";
const ODD: &str = "SELECT body FROM saga_log WHERE saga_id = (
    SELECT saga_id FROM saga_log GROUP BY saga_id HAVING count(*) NOT IN ($1, $1 + 1) LIMIT 1
) ORDER BY seq";

/// Checks that every saga that was started is there with the verdict it should have, and with the
/// log rows of one saga that ran alone. Where a worker was full for a moment, the start and the
/// intent of the first step have a row each instead of one for both.
pub(crate) async fn check(
    url: &str,
    started: u64,
    fail_last: bool,
    shape: Shape,
) -> anyhow::Result<()> {
    let status = if fail_last { "compensated" } else { "completed" };
    let rows = Rows::of_one_saga_of(shape, fail_last).await?.all.len() as u64;
    let ([sagas, well, log, moves], odd) = read(url, status, rows).await?;
    ensure!(sagas == started, "{started} sagas were started, but {sagas} are on record");
    ensure!(well == started, "{started} sagas should be {status}, but {well} are");
    ensure!(
        odd.is_empty(),
        "a saga should have left {rows} log rows, or {} with a start of its own, but one has:\n{}",
        rows + 1,
        odd.join("\n")
    );
    ensure!(log == moves, "the sagas made {moves} moves, but there are {log} log rows");
    Ok(())
}

macro_rules! read {
    ($db:expr, $status:expr, $rows:expr) => {{
        let sagas: i64 = sqlx::query_scalar(SAGAS).fetch_one(&mut $db).await?;
        let well: i64 = sqlx::query_scalar(WELL).bind($status).fetch_one(&mut $db).await?;
        let log: i64 = sqlx::query_scalar(LOG).fetch_one(&mut $db).await?;
        let moves: i64 = sqlx::query_scalar(MOVES).fetch_one(&mut $db).await?;
        let odd: Vec<String> =
            sqlx::query_scalar(ODD).bind($rows as i64).fetch_all(&mut $db).await?;
        ([sagas, well, log, moves].map(i64::unsigned_abs), odd)
    }};
}

/// The numbers of sagas, of those with the status, of log rows, and of moves by the state rows; and
/// the log of a saga that has another number of rows than it should.
async fn read(url: &str, status: &str, rows: u64) -> anyhow::Result<([u64; 4], Vec<String>)> {
    Ok(if url.starts_with("sqlite://") {
        let mut db = SqliteConnection::connect(url).await?;
        read!(db, status, rows)
    } else {
        let mut db = PgConnection::connect(url).await?;
        read!(db, status, rows)
    })
}
