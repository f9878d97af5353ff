//! One subscriber: a cursor, a filter, and where to get what comes next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use saga_core::store::{Cursor, FeedError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Feed, Filter, Frame, tail};
use crate::service::App;

/// Most transitions handed out of the ring at once; the rest stays there.
const BATCH: usize = 64;
/// Transitions read at once to catch up: fewer when they are long.
const PAGE_MIN: u32 = 8;
/// Bytes above which the next page is made shorter.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Pause after a failed read.
const PAUSE: Duration = Duration::from_millis(500);

/// What a subscriber is to be told.
#[derive(Debug)]
pub(crate) enum Next {
    /// A transition.
    Frame(Arc<Frame>),
    /// Nothing new, up to the cursor.
    Quiet,
}

/// Counts a subscriber for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(App);

impl Counted {
    pub(super) fn new(app: App) -> Self {
        app.feed().subscribers.fetch_add(1, Ordering::SeqCst);
        Self(app)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.feed().subscribers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A subscription to the feed.
#[derive(Debug)]
pub(crate) struct Subscriber {
    app: Counted,
    filter: Filter,
    /// Everything up to here was handed out or is in `ready`.
    taken: Cursor,
    /// Everything up to here was handed out.
    sent: Cursor,
    ready: VecDeque<Arc<Frame>>,
    news: watch::Receiver<u64>,
    page: u32,
}

impl Subscriber {
    pub(super) fn new(app: Counted, filter: Filter, cursor: Cursor) -> Self {
        let news = app.0.feed().news.subscribe();
        Self {
            app,
            filter,
            taken: cursor,
            sent: cursor,
            ready: VecDeque::new(),
            news,
            page: tail::PAGE / 4,
        }
    }

    /// Where to go on if this subscription ended now.
    pub(crate) fn cursor(&self) -> Cursor {
        self.sent
    }

    /// Goes on by another filter, from where it stands.
    pub(crate) fn refilter(&mut self, filter: Filter) {
        // What the old filter let through and nobody was given yet is looked at anew.
        self.ready.clear();
        (self.filter, self.taken) = (filter, self.sent);
    }

    fn feed(&self) -> &Feed {
        self.app.0.feed()
    }

    /// Finds out whether there is a way from the cursor on.
    pub(super) async fn begin(&mut self) -> Result<(), FeedError> {
        if !self.take_from_ring() {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// The next thing to tell, at the latest at `until`. May be dropped while it waits, and asked
    /// again.
    ///
    /// # Errors
    /// [`FeedError`] when there is no going on from the cursor.
    pub(crate) async fn next(&mut self, until: Instant) -> Result<Next, FeedError> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.sent = if self.ready.is_empty() { self.taken } else { frame.cursor };
                return Ok(Next::Frame(frame));
            }
            self.sent = self.taken;
            if Instant::now() >= until {
                return Ok(Next::Quiet);
            }
            // Marked as seen before the look, so that what comes after the look wakes this up.
            self.news.mark_unchanged();
            if self.take_from_ring() {
                if self.ready.is_empty() && timeout_at(until, self.news.changed()).await.is_err() {
                    self.take_from_ring();
                    if self.ready.is_empty() {
                        self.sent = self.taken;
                        return Ok(Next::Quiet);
                    }
                }
                continue;
            }
            match timeout_at(until, self.catch_up()).await {
                Ok(Err(FeedError::Store(error))) => {
                    tracing::debug!(%error, "a subscriber cannot catch up, trying again");
                    sleep(PAUSE).await;
                }
                Ok(outcome) => outcome?,
                Err(_) => return Ok(Next::Quiet),
            }
        }
    }

    /// Takes what is in the ring; `false` when that does not reach back to the cursor.
    fn take_from_ring(&mut self) -> bool {
        let Self { app, filter, taken, ready, .. } = self;
        let ring = app.0.feed().ring();
        let Some(ring) = &*ring else { return false };
        let from = *taken;
        let Some(mut frames) = ring.behind(&from) else { return false };
        for frame in frames.by_ref() {
            *taken = frame.cursor;
            if filter.lets(frame) {
                ready.push_back(frame.clone());
                if ready.len() == BATCH {
                    return true;
                }
            }
        }
        // Also past what the filter held back, so that retention does not overtake the cursor.
        if ring.head().compare(taken) == Some(std::cmp::Ordering::Greater) {
            *taken = ring.head();
        }
        true
    }

    /// Reads a page from the store, when it is this subscriber's turn.
    async fn catch_up(&mut self) -> Result<(), FeedError> {
        let app = self.app.0.clone();
        let page = {
            let turn = self.feed().catch_up.acquire().await;
            let page = app.client().store().feed(self.taken, self.page).await?;
            drop(turn);
            page
        };
        let bytes: usize = page.entries.iter().map(|entry| entry.row.body.len()).sum();
        self.page = match bytes > PAGE_BYTES_MAX {
            true => (self.page / 2).max(PAGE_MIN),
            false => (self.page * 2).min(tail::PAGE),
        };
        let frames = tail::frames(&app, page.entries).await;
        let Self { filter, ready, .. } = self;
        ready.extend(frames.into_iter().filter(|frame| filter.lets(frame)));
        self.taken = page.cursor;
        if !page.more {
            // The reading of this process is further behind for a moment.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
