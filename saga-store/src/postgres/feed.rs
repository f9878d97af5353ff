//! The feed: the log of all sagas in the order of the transactions' numbers.
//!
//! Numbers are given when a transaction begins to write and become visible when it commits, so what
//! is shown ends before the oldest transaction that is still under way, in whatever database of the
//! server. Nothing that commits later can then come before it.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::Digest;
use saga_core::store::{Cursor, Feed, FeedEdge, FeedEntry, FeedError, FeedPage};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Error, Row as _};

use super::PostgresStore;
use super::lane::Work;
use crate::row::{self, FeedColumns, integer};

#[async_trait]
impl Feed for PostgresStore {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        let (state, _) = self.read_feed(Cursor::oldest(0), 0).await?;
        Ok(match edge {
            FeedEdge::Oldest => Cursor::oldest(state.lineage),
            FeedEdge::Newest => state.newest(),
        })
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        let (state, rows) = self.read_feed(after, limit).await?;
        if after.lineage != state.lineage || after.turn >= state.ahead {
            return Err(FeedError::Foreign);
        }
        // Of a turn of several sagas it is not known which of them have left.
        let whole = after == Cursor::behind(after.lineage, after.turn);
        let lost = state.forgotten > after.turn || state.forgotten == after.turn && !whole;
        if lost && state.forgotten > 0 && !after.catching_up {
            return Err(FeedError::Forgotten);
        }
        let more = limit > 0 && rows.len() == limit as usize;
        let last = rows.last().map(|columns| row::feed_behind(after, columns));
        let read = |columns| row::feed(after, columns);
        let entries: Vec<FeedEntry> = row::readable(rows, read, "the feed");
        let caught_up = state.newest();
        let cursor = match last {
            Some(last) if more => last,
            // Never back to where the reader has been.
            _ if limit == 0 || caught_up.turn < after.turn => after,
            _ => caught_up,
        };
        Ok(FeedPage { entries, cursor, more, lag: state.lag })
    }
}

impl PostgresStore {
    async fn read_feed(
        &self,
        after: Cursor,
        limit: u32,
    ) -> Result<(State, Vec<FeedColumns>), FeedError> {
        if self.distributed {
            let why = "a database spread over machines has no common order of its transactions; follow sagas one by one, or open the store without `distributed`";
            return Err(FeedError::Unsupported(why.to_owned()));
        }
        Ok(self.feed.run(Read { after, limit }).await?)
    }
}

/// What is to be known of the feed beside its rows.
struct State {
    lineage: u64,
    forgotten: u64,
    /// The first turn that is not shown.
    horizon: u64,
    /// The first turn that was not given yet.
    ahead: u64,
    lag: Duration,
}

impl State {
    fn of(row: &PgRow) -> Result<Self, Error> {
        let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let (system, timeline): (i64, String) = (row.try_get("system")?, row.try_get("timeline")?);
        let database: i64 = row.try_get("database")?;
        let digest =
            Digest::of(&[&system.to_be_bytes(), timeline.as_bytes(), &database.to_be_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        let lag: Option<i64> = row.try_get("lag")?;
        let lag = lag.and_then(|lag| u64::try_from(lag).ok()).map(Duration::from_micros);
        Ok(Self {
            lineage: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            forgotten: number("forgotten")?,
            horizon: number("horizon")?,
            ahead: number("ahead")?,
            lag: lag.unwrap_or_default(),
        })
    }

    /// The place behind everything that is certain.
    fn newest(&self) -> Cursor {
        Cursor::behind(self.lineage, self.horizon.saturating_sub(1))
    }
}

struct Read {
    after: Cursor,
    limit: u32,
}

#[async_trait]
impl Work for Read {
    type Outcome = (State, Vec<FeedColumns>);

    fn what(&self) -> String {
        "reading the feed".to_owned()
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        let rows = sqlx::query(include_str!("feed.sql"))
            .bind(integer(self.after.turn))
            .bind(&self.after.id.to_bytes()[..])
            .bind(integer(self.after.seq))
            .bind(i64::from(self.limit))
            .fetch_all(db)
            .await?;
        let state = State::of(rows.first().ok_or(Error::RowNotFound)?)?;
        let entries = rows.iter().filter_map(|row| entry(row).transpose());
        Ok((state, entries.collect::<Result<_, _>>()?))
    }
}

/// The entry in a row, unless it stands alone.
fn entry(row: &PgRow) -> Result<Option<FeedColumns>, Error> {
    let Some(turn) = row.try_get::<Option<i64>, _>("xid")? else { return Ok(None) };
    Ok(Some(FeedColumns {
        turn,
        id: row.try_get("saga_id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        definition: row.try_get("definition")?,
        key: row.try_get("key")?,
        status: row.try_get("status")?,
        log: (
            row.try_get("seq")?,
            row.try_get("epoch")?,
            row.try_get("at")?,
            row.try_get("body")?,
            row.try_get("digest")?,
        ),
    }))
}

/// Lets the numbers of transactions go on above those in the log: after a database was brought from
/// a server whose numbers were higher, new rows would otherwise come before old ones.
pub(super) async fn keep_ahead(db: &mut PgConnection) -> Result<(), Error> {
    if look_ahead(db).await?.0 <= 0 {
        return Ok(());
    }
    let mut transaction = db.begin().await?;
    sqlx::query(include_str!("feed_lock.sql")).execute(&mut *transaction).await?;
    let (ahead, offset) = look_ahead(&mut transaction).await?;
    if ahead > 0 {
        let offset = offset + ahead;
        let number = include_str!("feed_default.sql").replace("+ 0", &format!("+ {offset}"));
        sqlx::query(AssertSqlSafe(number)).execute(&mut *transaction).await?;
        let moved = sqlx::query(include_str!("feed_move.sql")).bind(offset);
        moved.execute(&mut *transaction).await?;
        tracing::warn!(
            offset,
            "the log comes from a server that had counted more transactions; the feed goes on above them"
        );
    }
    transaction.commit().await
}

async fn look_ahead(db: &mut PgConnection) -> Result<(i64, i64), Error> {
    sqlx::query_as(include_str!("feed_ahead.sql")).fetch_one(db).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::SagaId;

    #[test]
    fn the_newest_place_is_right_before_the_horizon() {
        let state =
            State { lineage: 7, forgotten: 0, horizon: 100, ahead: 105, lag: Duration::ZERO };
        assert_eq!(state.newest(), Cursor::behind(7, 99));
        assert_eq!(State { horizon: 0, ..state }.newest().id, SagaId::from_bytes([0xff; 16]));
    }
}
