//! The one task of a process that reads the feed, for as long as somebody subscribes.

use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Cursor, FeedEdge, FeedEntry, FeedError, FeedPage};
use tokio::time::{Instant, sleep, timeout};

use super::ring::Ring;
use super::{Frame, Frames};
use crate::service::App;

/// Most transitions read at once.
pub(super) const PAGE: u32 = 256;
/// How often to read when no hint comes: what other processes write gives none here.
const POLL: Duration = Duration::from_millis(100);
/// The same while the store holds something back.
const POLL_HELD: Duration = Duration::from_millis(10);
/// Least time between two reads: what comes meanwhile is read together.
const PACE: Duration = Duration::from_millis(5);
/// Pause after a failed read.
const PAUSE: Duration = Duration::from_millis(500);
/// How long reading goes on without a subscriber, for one that reconnects.
const LINGER: Duration = Duration::from_secs(10);
/// A store that was not read for so long does not answer.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);
/// From when on it is worth a word that something is held back.
const LAG_MAX: Duration = Duration::from_secs(5);

/// Reads on from the place where the ring stands.
pub(super) async fn read_on(app: App, mut cursor: Cursor) {
    let closing = app.closing().clone();
    let (mut alone_since, mut warned) = (None, false);
    while !closing.is_cancelled() {
        if app.feed().subscribers() > 0 {
            alone_since = None;
        } else if alone_since.get_or_insert_with(Instant::now).elapsed() > LINGER && end(&app) {
            return;
        }
        let begun = Instant::now();
        let news = app.client().news();
        match app.client().store().feed(cursor, PAGE).await {
            Ok(page) => {
                warn_once(&mut warned, page.lag);
                app.feed().noted(page.lag);
                let (more, held) = (page.more, !page.lag.is_zero());
                cursor = page.cursor;
                take_in(&app, page).await;
                if more {
                    continue;
                }
                let poll = if held { POLL_HELD } else { POLL };
                // A timeout is as good as news.
                drop(timeout(poll, news).await);
                sleep(PACE.saturating_sub(begun.elapsed())).await;
            }
            Err(FeedError::Store(error)) => {
                tracing::warn!(%error, "cannot read the feed, trying again");
                sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the feed begins anew; its subscribers are told");
                cursor = begin_anew(&app, cursor).await;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Ends the reading, unless somebody has subscribed meanwhile.
fn end(app: &App) -> bool {
    let mut ring = app.feed().ring();
    let alone = app.feed().subscribers() == 0;
    if alone {
        *ring = None;
    }
    alone
}

async fn take_in(app: &App, page: FeedPage) {
    let frames = frames(app, page.entries).await;
    let any = !frames.is_empty();
    if let Some(ring) = &mut *app.feed().ring() {
        ring.push(frames, page.cursor);
    }
    if any {
        app.feed().news.send_modify(|news| *news += 1);
    }
}

/// Transitions ready to be sent.
pub(super) async fn frames(app: &App, entries: Vec<FeedEntry>) -> Frames {
    let mut frames: Vec<Arc<Frame>> = Vec::with_capacity(entries.len());
    for entry in entries {
        // Without its definition a transition has no words for its steps, and is sent all the same.
        let spec = app.spec(&entry.definition).await.ok().flatten();
        frames.push(Frame::new(entry, spec.as_deref()));
    }
    frames
}

/// After the place is of no use any more. Subscribers find out by themselves that theirs is not.
async fn begin_anew(app: &App, cursor: Cursor) -> Cursor {
    let Ok(newest) = app.client().store().feed_edge(FeedEdge::Newest).await else { return cursor };
    if let Some(ring) = &mut *app.feed().ring() {
        *ring = Ring::at(newest);
    }
    app.feed().news.send_modify(|news| *news += 1);
    newest
}

fn warn_once(warned: &mut bool, lag: Duration) {
    let late = lag > LAG_MAX;
    if late && !*warned {
        tracing::warn!(
            lag_s = lag.as_secs(),
            "the feed is held back by a transaction that stays open in some database of this server: pg_stat_activity shows whose (backend_xid, xact_start)"
        );
    }
    *warned = late;
}
