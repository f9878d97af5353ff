//! The feed of the reference store: every transition gets the next turn.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::id::SagaId;
use crate::saga::Status;
use crate::store::{Cursor, Feed, FeedEdge, FeedEntry, FeedError, FeedPage};
use crate::time::Timestamp;

/// Which transition had which turn.
#[derive(Debug, Default)]
pub(super) struct Order {
    lineage: u64,
    /// The last turn given.
    last: u64,
    turns: BTreeMap<u64, (SagaId, u64, Status)>,
    /// The last turn of a transition that was deleted.
    forgotten: u64,
}

impl Order {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { lineage: now.as_micros().unsigned_abs(), ..Self::default() }
    }

    pub(super) fn push(&mut self, id: SagaId, seq: u64, status: Status) {
        self.last += 1;
        self.turns.insert(self.last, (id, seq, status));
    }

    pub(super) fn forget(&mut self, gone: impl Fn(&SagaId) -> bool) {
        let leaving: Vec<u64> =
            self.turns.iter().filter(|(_, (id, ..))| gone(id)).map(|(turn, _)| *turn).collect();
        for turn in leaving {
            self.turns.remove(&turn);
            self.forgotten = self.forgotten.max(turn);
        }
    }

    /// Whether a cursor of this store is at a place that it has, or had before retention.
    fn check(&self, after: &Cursor) -> Result<(), FeedError> {
        let there = self.turns.get(&after.turn);
        let other = there.is_some_and(|(id, seq, _)| {
            *after != Cursor::behind(after.lineage, after.turn)
                && (*id, *seq) != (after.id, after.seq)
        });
        if after.lineage != self.lineage || after.turn > self.last || other {
            return Err(FeedError::Foreign);
        }
        if after.turn < self.forgotten && !after.catching_up {
            return Err(FeedError::Forgotten);
        }
        Ok(())
    }
}

#[async_trait]
impl Feed for MemoryStore {
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError> {
        let order = &self.state().feed;
        Ok(match edge {
            FeedEdge::Oldest => Cursor::oldest(order.lineage),
            FeedEdge::Newest => Cursor::behind(order.lineage, order.last),
        })
    }

    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError> {
        let State { sagas, feed, .. } = &*self.state();
        feed.check(&after)?;
        let entries: Vec<FeedEntry> = feed
            .turns
            .range(after.turn + 1..)
            .filter_map(|(turn, (id, seq, status))| {
                let record = sagas.get(id)?;
                let row = record.log.iter().find(|row| row.seq == *seq)?;
                Some(FeedEntry {
                    cursor: Cursor { turn: *turn, id: *id, seq: *seq, ..after },
                    id: *id,
                    definition: record.row.definition.clone(),
                    key: record.row.key.clone(),
                    status: *status,
                    row: row.clone(),
                })
            })
            .take(limit as usize)
            .collect();
        let more = !entries.is_empty() && entries.len() == limit as usize;
        let cursor = match entries.last() {
            Some(last) if more => last.cursor,
            _ if limit == 0 => after,
            _ => Cursor::behind(feed.lineage, feed.last),
        };
        Ok(FeedPage { entries, cursor, more, lag: Duration::ZERO })
    }
}
