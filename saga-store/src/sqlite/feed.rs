//! The feed: the log of all sagas in the order in which the one writer wrote it.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use saga_core::store::{Cursor, Feed, FeedEdge, FeedEntry, FeedError, FeedPage, StoreError};

use super::SqliteStore;
use super::failure::classify;
use super::statement::one;
use crate::row::{self, FeedColumns, integer};

#[async_trait]
impl Feed for SqliteStore {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        let state = self.reader.read(|db| state(db, 0)).await?;
        Ok(match edge {
            FeedEdge::Oldest => Cursor::oldest(state.lineage),
            FeedEdge::Newest => state.newest(),
        })
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        let read = move |db: &mut Connection| {
            let snapshot = db.transaction().map_err(failed)?;
            let state = state(&snapshot, after.turn)?;
            let rows = rows(&snapshot, after, limit).map_err(failed)?;
            Ok((state, rows))
        };
        let (state, rows) = self.reader.read(read).await?;
        state.check(after)?;
        let more = limit > 0 && rows.len() == limit as usize;
        let last = rows.last().map(|columns| row::feed_behind(after, columns));
        let read = |columns| row::feed(after, columns);
        let entries: Vec<FeedEntry> = row::readable(rows, read, "the feed");
        let cursor = match last {
            Some(last) if more => last,
            _ if limit == 0 => after,
            _ => state.newest(),
        };
        Ok(FeedPage { entries, cursor, more, lag: Duration::ZERO })
    }
}

/// What is to be known of the feed beside its rows.
struct State {
    lineage: u64,
    forgotten: u64,
    /// The last position given.
    last: u64,
    /// The row where a cursor says that it is: saga and position in its log.
    there: Option<(Vec<u8>, u64)>,
}

impl State {
    /// Whether a cursor is of this feed as it is now, and nothing behind it has left.
    ///
    /// A copy of the file that was put back is told by what stands at the cursor's place.
    fn check(&self, after: Cursor) -> Result<(), FeedError> {
        let behind = after == Cursor::behind(after.lineage, after.turn);
        let other = self.there.as_ref().is_some_and(|(id, seq)| {
            !behind && (id[..] != after.id.to_bytes() || *seq != after.seq)
        });
        if after.lineage != self.lineage || after.turn > self.last || other {
            return Err(FeedError::Foreign);
        }
        if after.turn < self.forgotten && !after.catching_up {
            return Err(FeedError::Forgotten);
        }
        Ok(())
    }

    fn newest(&self) -> Cursor {
        Cursor::behind(self.lineage, self.last)
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    classify("reading the feed", &error)
}

fn state(db: &Connection, turn: u64) -> Result<State, StoreError> {
    type Columns = (i64, i64, i64, Option<Vec<u8>>, Option<i64>);
    let columns: Columns =
        one(db, include_str!("feed_state.sql"), params![integer(turn)]).map_err(failed)?;
    let (lineage, forgotten, last, id, seq) = columns;
    let (forgotten, last) =
        (forgotten.unsigned_abs(), last.unsigned_abs().max(forgotten.unsigned_abs()));
    let there = id.zip(seq.map(i64::unsigned_abs));
    Ok(State { lineage: lineage.unsigned_abs(), forgotten, last, there })
}

fn rows(db: &Connection, after: Cursor, limit: u32) -> rusqlite::Result<Vec<FeedColumns>> {
    let mut statement = db.prepare_cached(include_str!("feed.sql"))?;
    let rows = statement.query_map(params![integer(after.turn), limit], entry)?;
    rows.collect()
}

/// One row. SQLite lets a text hold any bytes, and one such row must not keep anybody from the
/// others: what is no text is replaced, and found to be none of ours when it is looked at.
fn entry(row: &Row<'_>) -> rusqlite::Result<FeedColumns> {
    let text = |at: usize| -> rusqlite::Result<Option<String>> {
        Ok(match row.get_ref(at)? {
            ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    };
    let blob = |at: usize| -> rusqlite::Result<Vec<u8>> {
        Ok(match row.get_ref(at)? {
            ValueRef::Blob(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        })
    };
    Ok(FeedColumns {
        turn: row.get(0)?,
        id: blob(1)?,
        name: text(2)?.unwrap_or_default(),
        version: row.get(3)?,
        definition: blob(4)?,
        key: text(5)?,
        status: text(6)?.unwrap_or_default(),
        log: (row.get(7)?, row.get(8)?, row.get(9)?, text(10)?.unwrap_or_default(), blob(11)?),
    })
}
