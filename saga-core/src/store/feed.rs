//! The feed: the transitions of all sagas in one order, to be read from any place on without a gap.

mod cursor;

use std::time::Duration;

use async_trait::async_trait;

pub use cursor::{Cursor, CursorError};

use super::StoreError;
use crate::definition::DefinitionRef;
use crate::id::{IdempotencyKey, SagaId};
use crate::log::LogRow;
use crate::saga::Status;

/// The log of all sagas, read in one order.
///
/// The log is the feed: nothing is written for it a second time. Its order is that of the commits
/// as far as they can be told apart, and within a saga that of its positions. Whoever has read up
/// to a [`Cursor`] and goes on from there misses nothing and is given nothing twice, also what was
/// begun before and committed after the cursor was made.
#[async_trait]
pub trait Feed: Send + Sync + 'static {
    /// The cursor before or behind everything that is in the feed by now.
    ///
    /// # Errors
    /// [`FeedError::Unsupported`], or the store's error.
    async fn feed_edge(&self, edge: FeedEdge) -> Result<Cursor, FeedError>;

    /// What follows a cursor, oldest first, at most `limit` transitions.
    ///
    /// What is committed but may still be preceded by something that is not is held back until
    /// that is certain; [`FeedPage::lag`] tells for how long.
    ///
    /// # Errors
    /// [`FeedError::Forgotten`] when retention has deleted something behind the cursor,
    /// [`FeedError::Foreign`] when the cursor was not made by this database as it is now,
    /// [`FeedError::Unsupported`], or the store's error.
    async fn feed(&self, after: Cursor, limit: u32) -> Result<FeedPage, FeedError>;
}

/// One end of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedEdge {
    /// Before everything that retention has left.
    ///
    /// Until a reader that begins here has caught up once, it is not told of sagas that retention
    /// deletes before it gets there: they ended long ago.
    Oldest,
    /// Behind everything that is certain by now.
    Newest,
}

/// A part of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// The transitions, oldest first.
    pub entries: Vec<FeedEntry>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether there may be more at once; otherwise the reader has caught up.
    pub more: bool,
    /// For how long the oldest transition has been held back that is committed but not certain to
    /// be the next: zero when none is. Long when somebody keeps a transaction open.
    pub lag: Duration,
}

/// One transition in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// The place right behind it.
    pub cursor: Cursor,
    /// The saga.
    pub id: SagaId,
    /// What the saga is a run of.
    pub definition: DefinitionRef,
    /// The key under which the saga was started.
    pub key: Option<IdempotencyKey>,
    /// Where the saga stood after this transition; of one that an older release wrote, where the
    /// saga stands now.
    pub status: Status,
    /// The row of its log.
    pub row: LogRow,
}

/// The feed cannot be read from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Something behind the cursor is gone.
    #[error(
        "retention has deleted transitions behind this cursor: take a new snapshot of the sagas and go on from the newest place"
    )]
    Forgotten,
    /// The cursor means nothing here.
    #[error(
        "the cursor is of another database, or of a state of this one that was lost, as after restoring a backup or a failover: take a new snapshot of the sagas and go on from the newest place"
    )]
    Foreign,
    /// This store has no feed.
    #[error("this store has no feed of all sagas: {0}")]
    Unsupported(String),
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}
