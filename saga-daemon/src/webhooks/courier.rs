//! The task that delivers for one webhook, as long as this daemon has its lease.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use saga_core::store::{Cursor, FeedEdge, FeedEntry, FeedError, Store, StoreError};
use saga_core::{RetryPolicy, SagaId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::event::{Delivery, delivery};
use super::sender::{Sender, Sent};
use super::state::{self, Off, Retry, State, load, ms, now_ms, save};
use super::{Webhook, Webhooks};
use crate::service::App;

/// Most retries of a webhook. While it has so many it does not move on.
const RETRIES_MAX: usize = 1_000;
/// Transitions read at once.
const PAGE: u32 = 128;
/// Deliveries of a webhook under way at the same time.
const AT_ONCE: usize = 8;
/// How long the right to deliver holds.
const LEASE: Duration = Duration::from_secs(10);
/// Bound of the wait before the second try; it doubles with every further one.
const DELAY: Duration = Duration::from_secs(5);
/// The shortest wait that an endpoint may ask for.
const DELAY_MIN: Duration = Duration::from_millis(500);
/// Bound of every wait.
const DELAY_MAX: Duration = Duration::from_secs(3_600);
/// How often to look when there is nothing to do.
const PAUSE: Duration = Duration::from_secs(1);

/// What a webhook's deliveries have come to, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Delivered,
    Failed,
    Lost,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// Runs a courier for every webhook, whichever there are at the moment, until the daemon ends.
pub(crate) async fn deliver_all(app: App, mut hooks: watch::Receiver<Webhooks>) {
    let me = uuid::Uuid::new_v4().to_string();
    loop {
        let now = hooks.borrow_and_update().clone();
        let courier = |hook: &Webhook| Courier::new(&app, hook.clone(), now.clone(), &me).run();
        let mut couriers: FuturesUnordered<_> = now.iter().map(courier).collect();
        let is_over = tokio::select! {
            biased;
            () = app.closing().cancelled() => true,
            changed = hooks.changed() => changed.is_err(),
            () = async { while couriers.next().await.is_some() {} std::future::pending().await } => true,
        };
        // What is under way now is made again, by whoever takes over.
        drop(couriers);
        hand_back(&app, &now, &me).await;
        if is_over {
            return;
        }
    }
}

/// Lets others deliver at once.
async fn hand_back(app: &App, hooks: &Webhooks, me: &str) {
    let release = state::Change::Release { by: me.to_owned() };
    for hook in hooks.iter() {
        if let Err(error) = state::change(&**app.client().store(), &hook.name, &release).await {
            tracing::warn!(webhook = hook.name, %error, "its deliveries wait for the end of our lease");
        }
    }
}

/// Delivers for one webhook.
struct Courier {
    app: App,
    store: Arc<dyn Store>,
    hook: Webhook,
    hooks: Webhooks,
    me: String,
}

impl Courier {
    fn new(app: &App, hook: Webhook, hooks: Webhooks, me: &str) -> Self {
        let store = app.client().store().clone();
        Self { app: app.clone(), store, hook, hooks, me: me.to_owned() }
    }

    async fn run(self) {
        loop {
            match self.shift().await {
                Ok(()) => {}
                Err(FeedError::Store(error)) => {
                    tracing::warn!(webhook = self.hook.name, %error, "webhook waits for the store");
                }
                Err(error @ FeedError::Unsupported(_)) => {
                    tracing::error!(webhook = self.hook.name, %error, "webhooks need the feed");
                    return;
                }
                Err(error @ FeedError::Forgotten) => {
                    tracing::error!(webhook = self.hook.name, %error, "webhook has missed transitions and goes on with the oldest that are left");
                    self.go_on_from(FeedEdge::Oldest).await;
                }
                Err(error @ FeedError::Foreign) => {
                    tracing::error!(webhook = self.hook.name, %error, "webhook's place is of no use any more: it goes on with the oldest transitions there are");
                    self.go_on_from(FeedEdge::Oldest).await;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// One round after the other, for as long as the webhook is on and its lease is ours.
    async fn shift(&self) -> Result<(), FeedError> {
        let sender = match Sender::new(&self.hook, &self.hooks) {
            Ok(sender) => sender,
            Err(error) => {
                tracing::error!(webhook = self.hook.name, error, "webhook cannot be served");
                return Ok(());
            }
        };
        loop {
            let (version, state) = self.state().await?;
            if state.off.is_some() || state.is_held_by_another(&self.me, now_ms()) {
                return Ok(());
            }
            let until = state.lease.as_ref().filter(|lease| lease.by == self.me);
            if until.is_none_or(|lease| lease.until_ms < now_ms() + ms(LEASE) / 2) {
                // The lease first, so that of two daemons only one makes the round.
                let lease = Some(self.lease());
                save(&*self.store, &self.hook.name, version, &State { lease, ..state }).await?;
                continue;
            }
            let news = self.app.client().news();
            let (mut next, is_busy) = self.round(&sender, state.clone()).await?;
            if next != state {
                next.lease = Some(self.lease());
                // Whoever came before has changed what this round rested on: it is made anew, and
                // what it delivered is delivered again.
                save(&*self.store, &self.hook.name, version, &next).await?;
            }
            if !is_busy {
                drop(timeout(PAUSE, news).await);
            }
        }
    }

    fn lease(&self) -> state::Lease {
        state::Lease { by: self.me.clone(), until_ms: now_ms() + ms(LEASE) }
    }

    /// The webhook's state; a new one begins with what comes from now on.
    async fn state(&self) -> Result<(u64, State), FeedError> {
        if let Some(found) = load(&*self.store, &self.hook.name).await? {
            return Ok(found);
        }
        let newest = self.store.feed_edge(FeedEdge::Newest).await?;
        save(&*self.store, &self.hook.name, 0, &State::at(&newest)).await?;
        let made = load(&*self.store, &self.hook.name).await?;
        let gone = || StoreError::Unavailable("the register of a new webhook is gone".to_owned());
        Ok(made.ok_or_else(gone)?)
    }

    /// Delivers what is due; whether there may be more at once.
    async fn round(&self, sender: &Sender, mut state: State) -> Result<(State, bool), FeedError> {
        let now = now_ms();
        let after: Cursor = state.cursor.parse().map_err(|_| FeedError::Foreign)?;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.retries).into_iter().partition(|retry| retry.next_ms <= now);
        state.retries = later;
        let mut jobs: Vec<(Retry, Delivery)> = Vec::new();
        for retry in due {
            match self.find(after, retry.saga_id, retry.seq).await? {
                Some(delivery) => jobs.push((retry, delivery)),
                None => self.lost(&mut state, &retry, "retention has deleted the saga"),
            }
        }
        let mut is_busy = !jobs.is_empty();
        if jobs.len() + state.retries.len() < RETRIES_MAX {
            let page = self.store.feed(after, PAGE).await?;
            is_busy |= page.more;
            for entry in &page.entries {
                if let Some(delivery) = self.delivery_of(entry).await {
                    let (saga_id, seq) = (entry.id, entry.row.seq);
                    jobs.push((
                        Retry { saga_id, seq, tries: 0, first_ms: now, next_ms: now },
                        delivery,
                    ));
                }
            }
            // The newest place alone is no progress: it is told anew at every reading.
            if !page.entries.is_empty() {
                state.cursor = page.cursor.to_string();
            }
        }
        let sending = jobs.into_iter().map(|(retry, delivery)| async move {
            (retry, sender.send(&self.hook, &delivery).await)
        });
        let mut sent = stream::iter(sending).buffer_unordered(AT_ONCE);
        while let Some((retry, sent)) = sent.next().await {
            self.settle(&mut state, retry, sent);
        }
        Ok((state, is_busy))
    }

    async fn delivery_of(&self, entry: &FeedEntry) -> Option<Delivery> {
        // Without its definition a transition has no words for its steps, and is sent all the same.
        let spec = self.app.spec(&entry.definition).await.ok().flatten();
        delivery(&self.hook, entry, spec.as_deref())
    }

    /// A transition that was read before; `None` when it is gone.
    async fn find(
        &self,
        cursor: Cursor,
        id: SagaId,
        seq: u64,
    ) -> Result<Option<Delivery>, StoreError> {
        let Some(row) = self.store.row(id).await? else { return Ok(None) };
        let log = self.store.log(id, seq.saturating_sub(1), 1).await?;
        let Some(found) = log.into_iter().next().filter(|found| found.seq == seq) else {
            return Ok(None);
        };
        let Some(status) = status_after(&found) else { return Ok(None) };
        let (definition, key) = (row.definition, row.key);
        let entry = FeedEntry { cursor, id, definition, key, status, row: found };
        // What the webhook is told of may have been changed since.
        let all = Webhook { events: super::OCCASIONS.into(), ..self.hook.clone() };
        let spec = self.app.spec(&entry.definition).await.ok().flatten();
        Ok(delivery(&all, &entry, spec.as_deref()))
    }

    fn settle(&self, state: &mut State, retry: Retry, sent: Sent) {
        let now = now_ms();
        match sent {
            Sent::Delivered => {
                state.delivered += 1;
                (state.failing_since_ms, state.last_error) = (None, None);
                self.count(Outcome::Delivered);
            }
            Sent::Gone => {
                let why = "the endpoint answered 410 Gone".to_owned();
                tracing::error!(webhook = self.hook.name, why, "webhook switched off");
                state.off = Some(Off { since_ms: now, why });
                state.retries.push(retry);
            }
            Sent::Failed { why, wait } => {
                state.failed += 1;
                self.count(Outcome::Failed);
                tracing::warn!(webhook = self.hook.name, saga_id = %retry.saga_id, why, "webhook delivery failed");
                state.last_error = Some(why.clone());
                let since = *state.failing_since_ms.get_or_insert(now);
                if now.saturating_sub(retry.first_ms) >= ms(self.hook.give_up) {
                    self.lost(state, &retry, &why);
                } else {
                    state.retries.push(later(retry, now, wait));
                }
                if now.saturating_sub(since) >= ms(self.hook.disable_after) && state.off.is_none() {
                    let why = format!("nothing could be delivered for too long; last: {why}");
                    tracing::error!(webhook = self.hook.name, why, "webhook switched off");
                    state.off = Some(Off { since_ms: now, why });
                }
            }
        }
    }

    fn lost(&self, state: &mut State, retry: &Retry, why: &str) {
        state.lost += 1;
        self.count(Outcome::Lost);
        let (webhook, saga_id) = (&self.hook.name, retry.saga_id);
        tracing::error!(webhook, %saga_id, seq = retry.seq, why, "webhook delivery lost");
    }

    fn count(&self, outcome: Outcome) {
        self.app.metrics().delivered(&self.hook.name, outcome.as_str());
    }

    async fn go_on_from(&self, edge: FeedEdge) {
        let Ok(place) = self.store.feed_edge(edge).await else { return };
        let go_to = state::Change::GoTo { cursor: place.to_string() };
        if let Err(error) = state::change(&*self.store, &self.hook.name, &go_to).await {
            tracing::warn!(webhook = self.hook.name, %error, "webhook keeps its place for now");
        }
    }
}

/// The next try: a longer and longer wait, at random, or what the endpoint asked for.
fn later(retry: Retry, now_ms: u64, wait: Option<Duration>) -> Retry {
    let tries = retry.tries + 1;
    let policy = RetryPolicy::new(u32::MAX, DELAY).capped(DELAY_MAX);
    let drawn = policy.delay(tries, retry.saga_id.seed());
    // An endpoint that asks for no pause at all gets one.
    let wait = wait.map_or(drawn, |wait| wait.max(DELAY_MIN));
    Retry { tries, next_ms: now_ms + ms(wait), ..retry }
}

/// Where a saga stood after a transition that is an occasion.
fn status_after(row: &saga_core::LogRow) -> Option<saga_core::Status> {
    use saga_core::{Event, Status, Verdict};
    let transition = row.decode().ok()?;
    transition.events.iter().rev().find_map(|event| match event {
        Event::SagaStuck { .. } => Some(Status::Stuck),
        Event::SagaEnded { verdict: Verdict::Completed } => Some(Status::Completed),
        Event::SagaEnded { verdict: Verdict::Compensated } => Some(Status::Compensated),
        Event::SagaEnded { .. } => Some(Status::Stopped),
        _ => None,
    })
}
