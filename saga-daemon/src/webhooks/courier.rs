//! The task that delivers for one webhook, as long as this daemon has its lease.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use saga_core::store::{FeedEdge, FeedError, Store, StoreError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::sender::Sender;
use super::shift::Shift;
use super::state::{self, Change, State, begin, load};
use super::{Webhook, Webhooks};
use crate::service::App;

/// How long the right to deliver holds.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How often to look when there is nothing to do.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long a courier may take to enter what it has delivered, when it is to stop.
const STOP_MAX: Duration = Duration::from_secs(5);

/// What a webhook's deliveries have come to, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
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
        let stop = CancellationToken::new();
        let courier =
            |hook: &Webhook| Courier::new(&app, hook.clone(), now.clone(), &me, &stop).run();
        let mut couriers = std::pin::pin!(join_all(now.iter().map(courier)));
        let is_over = tokio::select! {
            biased;
            () = app.closing().cancelled() => true,
            changed = hooks.changed() => changed.is_err(),
            () = async { drop((&mut couriers).await); std::future::pending().await } => true,
        };
        // What is under way now is made again, by whoever takes over; what was delivered is entered.
        stop.cancel();
        drop(timeout(STOP_MAX, couriers).await);
        hand_back(&app, &now, &me).await;
        if is_over {
            return;
        }
    }
}

/// Lets others deliver at once.
async fn hand_back(app: &App, hooks: &Webhooks, me: &str) {
    let release = Change::Release { by: me.to_owned() };
    for hook in hooks.iter() {
        if let Err(error) = state::change(&**app.client().store(), &hook.name, &release).await {
            tracing::warn!(webhook = hook.name, %error, "its deliveries wait for the end of our lease");
        }
    }
}

/// Delivers for one webhook.
pub(super) struct Courier {
    pub(super) app: App,
    pub(super) store: Arc<dyn Store>,
    pub(super) hook: Webhook,
    hooks: Webhooks,
    pub(super) me: String,
    /// Fires when it is to stop.
    pub(super) stop: CancellationToken,
}

impl Courier {
    fn new(app: &App, hook: Webhook, hooks: Webhooks, me: &str, stop: &CancellationToken) -> Self {
        let (app, store) = (app.clone(), app.client().store().clone());
        Self { app, store, hook, hooks, me: me.to_owned(), stop: stop.clone() }
    }

    async fn run(self) {
        while !self.stop.is_cancelled() {
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
                    self.overtaken().await;
                }
                Err(error @ FeedError::Foreign) => {
                    tracing::error!(webhook = self.hook.name, %error, "webhook's place is of no use any more: it goes on with the oldest transitions there are");
                    self.go_on(|cursor| Change::GoTo { cursor }).await;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Delivers for as long as the webhook is on and its lease is ours.
    async fn shift(&self) -> Result<(), FeedError> {
        let sender = match Sender::new(&self.hook, &self.hooks) {
            Ok(sender) => sender,
            Err(error) => {
                tracing::error!(webhook = self.hook.name, error, "webhook cannot be served");
                return Ok(());
            }
        };
        let mut state = self.state().await?;
        if state.off.is_none() && !state.is_held_by_another(&self.me) {
            // The lease first, so that of two daemons only one delivers.
            let take = Change::Take { by: self.me.clone(), lease: LEASE };
            let taken = state::change(&*self.store, &self.hook.name, &take).await?;
            state = taken.unwrap_or_default();
        }
        match state.held_until(&self.me) {
            Some(_) => Shift::new(self, &sender, &state).run().await,
            None => Ok(()),
        }
    }

    /// The webhook's state; a new one begins with what comes from now on.
    pub(super) async fn state(&self) -> Result<State, FeedError> {
        if let Some(found) = load(&*self.store, &self.hook.name).await? {
            return Ok(found);
        }
        let newest = self.store.feed_edge(FeedEdge::Newest).await?;
        begin(&*self.store, &self.hook.name, &State::at(&newest)).await?;
        let made = load(&*self.store, &self.hook.name).await?;
        let gone = || StoreError::Unavailable("the register of a new webhook is gone".to_owned());
        Ok(made.ok_or_else(gone)?)
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.app.metrics().delivered(&self.hook.name, outcome.as_str());
    }

    /// How many transitions are missing nobody can tell any more: they count as one.
    async fn overtaken(&self) {
        let why = "retention has deleted sagas before they were delivered".to_owned();
        if self.go_on(|cursor| Change::Overtaken { cursor, why: why.clone() }).await {
            self.count(Outcome::Lost);
        }
    }

    /// Goes on with the oldest transitions that are left; whether that is on record.
    async fn go_on(&self, change: impl Fn(String) -> Change) -> bool {
        let Ok(place) = self.store.feed_edge(FeedEdge::Oldest).await else { return false };
        let changed =
            state::change(&*self.store, &self.hook.name, &change(place.to_string())).await;
        if let Err(error) = &changed {
            tracing::warn!(webhook = self.hook.name, %error, "webhook keeps its place for now");
        }
        changed.is_ok()
    }
}
