//! The feed of all sagas, pushed to whoever subscribes.
//!
//! One task per process reads the store; what it reads stands in a ring of bounded size, from which
//! every subscriber takes what it is to get, by its own cursor. A subscriber that has fallen behind
//! the ring, or comes with an older cursor, reads the store itself until it has caught up; only a
//! few do so at a time. Nothing is kept for a subscriber but its cursor and its filter.

mod filter;
mod frame;
pub(crate) mod origin;
mod places;
mod pulse;
mod ring;
mod subscriber;
mod tail;
mod tickets;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use saga_core::store::{Cursor, FeedEdge, FeedError};
use tokio::sync::{Semaphore, watch};

use crate::problem::{Kind, Problem};
use crate::service::App;

pub(crate) use filter::{Filter, Words};
pub(crate) use frame::{Frame, sse};
pub(crate) use places::{Place, Places};
pub(crate) use pulse::Pulse;
pub(crate) use subscriber::{Next, Subscriber};
pub(crate) use tickets::{Tickets, VALID};

use ring::Ring;

/// Subscribers that read the store at the same time to catch up.
const CATCH_UP_MAX: usize = 2;

/// What all subscribers share.
#[derive(Debug)]
pub(crate) struct Feed {
    /// What was read last, while somebody subscribes. Locked to look and to copy references, never
    /// across an await.
    ring: Mutex<Option<Ring>>,
    /// Counts what was put into the ring.
    news: watch::Sender<u64>,
    subscribers: AtomicUsize,
    catch_up: Semaphore,
    /// How long the store has been holding something back, in microseconds.
    lag: AtomicU64,
    /// When the store was last read.
    read_at: Mutex<Instant>,
}

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// With what comes from now on.
    Now,
    /// With the oldest that is left.
    Beginning,
    /// Behind a place.
    After(Cursor),
}

impl From {
    /// What `?after=` and `Last-Event-ID` say.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        let expected = "`now`, `beginning`, or a cursor as the feed gave it";
        match text {
            "now" => Ok(Self::Now),
            "beginning" => Ok(Self::Beginning),
            text => {
                text.parse().map(Self::After).map_err(|_| Problem::field(field, text, expected))
            }
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            news: watch::Sender::new(0),
            subscribers: AtomicUsize::new(0),
            catch_up: Semaphore::new(CATCH_UP_MAX),
            lag: AtomicU64::new(0),
            read_at: Mutex::new(Instant::now()),
        }
    }
}

impl Feed {
    /// How many subscribe.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::SeqCst)
    }

    /// For how long the oldest transition that is committed has been waiting to be shown: because
    /// the store holds it back, or does not answer. Zero when nobody subscribes.
    pub(crate) fn lag(&self) -> Duration {
        if self.ring().is_none() {
            return Duration::ZERO;
        }
        let held = Duration::from_micros(self.lag.load(Ordering::SeqCst));
        let unread = self.read_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if unread > tail::SILENCE_MAX { held.max(unread) } else { held }
    }

    fn ring(&self) -> MutexGuard<'_, Option<Ring>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self, lag: Duration) {
        let lag = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.lag.store(lag, Ordering::SeqCst);
        *self.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The place where the reading of this process stands; reading begins if nobody subscribed yet.
async fn head(app: &App) -> Result<Cursor, FeedError> {
    let feed = app.feed();
    if let Some(ring) = &*feed.ring() {
        return Ok(ring.head());
    }
    let newest = app.client().store().feed_edge(FeedEdge::Newest).await?;
    let mut ring = feed.ring();
    if let Some(ring) = &*ring {
        return Ok(ring.head());
    }
    *ring = Some(Ring::at(newest));
    feed.noted(Duration::ZERO);
    tokio::spawn(tail::read_on(app.clone(), newest));
    Ok(newest)
}

/// Subscribes to what a filter lets through.
///
/// # Errors
/// A problem when there is no going on from there.
pub(crate) async fn subscribe(
    app: &App,
    filter: Filter,
    from: From,
) -> Result<Subscriber, Problem> {
    // Counted first, so that reading does not end between the look and the subscription.
    let counted = subscriber::Counted::new(app.clone());
    let head = head(app).await.map_err(problem)?;
    let cursor = match from {
        From::Now => head,
        From::After(cursor) => cursor,
        From::Beginning => {
            app.client().store().feed_edge(FeedEdge::Oldest).await.map_err(problem)?
        }
    };
    let mut subscriber = Subscriber::new(counted, filter, cursor);
    subscriber.begin().await.map_err(problem)?;
    Ok(subscriber)
}

/// The problem that a client is told.
pub(crate) fn problem(error: FeedError) -> Problem {
    let detail = format!("{error} (GET /v1/sagas, then ?after=now)");
    match error {
        FeedError::Forgotten | FeedError::Foreign => Problem::new(Kind::CursorGone, detail),
        FeedError::Unsupported(_) => Problem::new(Kind::NoFeed, error.to_string()),
        FeedError::Store(error) => error.into(),
    }
}

/// References to what was read, oldest first.
type Frames = Vec<Arc<Frame>>;
