//! Deliveries, for as long as a webhook is on and its lease is ours: what the feed holds and what is
//! due again, sent, and entered into the register.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use saga_core::store::{Cursor, FeedEntry, FeedError, StoreError};
use saga_core::{Event, LogRow, RetryPolicy, SagaId, Status, Verdict};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout};

use super::courier::{Courier, LEASE, Outcome, PAUSE};
use super::event::{Delivery, delivery};
use super::sender::{Sender, Sent};
use super::state::{self, Account, Change, Fate, Retry, State};
use super::{OCCASIONS, Webhook};
use crate::register::{ms, now_ms};

/// Transitions read at once.
const PAGE: u32 = 128;
/// Deliveries that are tried again at once, those first that are due longest.
const AGAIN_MAX: usize = 64;
/// Deliveries of a webhook under way at the same time.
const AT_ONCE: usize = 8;
/// The shortest time between two looks at the feed because of news: under load everything is news.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long deliveries that are under way may take when the courier is to stop.
const STOP_MAX: Duration = Duration::from_secs(2);
/// Bound of the wait before the second try; it doubles with every further one.
const DELAY: Duration = Duration::from_secs(5);
/// The shortest wait that an endpoint may ask for.
const DELAY_MIN: Duration = Duration::from_millis(500);
/// Bound of every wait.
const DELAY_MAX: Duration = Duration::from_secs(3_600);

/// What is to be delivered, what is under way, and what has come of the rest.
pub(super) struct Shift<'a> {
    courier: &'a Courier,
    sender: &'a Sender,
    /// Read, and not sent yet.
    jobs: VecDeque<(Retry, Delivery)>,
    /// Read or under way.
    open: Vec<Retry>,
    /// What has not been entered into the register yet.
    account: Account,
    /// Whether the feed holds more than was read.
    more: bool,
}

impl<'a> Shift<'a> {
    pub(super) fn new(courier: &'a Courier, sender: &'a Sender, state: &State) -> Self {
        let disable_after_ms = ms(courier.hook.disable_after);
        let (from, to) = (state.cursor.clone(), state.cursor.clone());
        let account = Account { from, to, disable_after_ms, ..Account::default() };
        let (jobs, open) = (VecDeque::new(), Vec::new());
        Self { courier, sender, jobs, open, account, more: true }
    }

    /// Delivers until the webhook is off, its lease is lost or the courier is to stop.
    pub(super) async fn run(mut self) -> Result<(), FeedError> {
        let outcome = self.deliver().await;
        // What is under way is made again by whoever comes next; what was delivered is not.
        if !self.account.is_empty() {
            self.enter().await?;
        }
        outcome
    }

    async fn deliver(&mut self) -> Result<(), FeedError> {
        let (courier, sender) = (self.courier, self.sender);
        let send = |(retry, delivery): (Retry, Delivery)| async move {
            (retry, sender.send(&courier.hook, &delivery).await)
        };
        let mut sending = FuturesUnordered::new();
        let mut renewal = interval_at(Instant::now() + LEASE / 3, LEASE / 3);
        let mut pause = interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = Box::pin(courier.news(Duration::ZERO));
        let outcome = loop {
            while sending.len() < AT_ONCE
                && let Some(job) = self.jobs.pop_front()
            {
                sending.push(send(job));
            }
            // A slow delivery holds nobody up while there is room beside it.
            let has_room = sending.len() < AT_ONCE;
            let goes_on = tokio::select! {
                biased;
                () = courier.stop.cancelled() => Ok(false),
                _ = renewal.tick() => self.renew().await,
                Some((retry, sent)) = sending.next() => {
                    let goes_on = self.settle(retry, sent);
                    let is_done = sending.is_empty() && self.jobs.is_empty();
                    if goes_on && is_done { self.renew().await } else { Ok(goes_on) }
                }
                () = std::future::ready(()), if has_room && self.more => self.read().await,
                () = &mut news, if has_room => {
                    news = Box::pin(courier.news(LOOK_AGAIN));
                    self.read().await
                }
                _ = pause.tick(), if has_room => self.read().await,
            };
            match goes_on {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What was sent comes to its end, so that it need not be sent again.
        let is_stopped = courier.stop.is_cancelled();
        let time = if is_stopped { STOP_MAX } else { courier.hook.timeout };
        let ending = async {
            while let Some((retry, sent)) = sending.next().await {
                self.settle(retry, sent);
            }
        };
        drop(timeout(time, ending).await);
        outcome
    }

    /// Reads what there is to deliver; whether to go on.
    async fn read(&mut self) -> Result<bool, FeedError> {
        let state = match self.account.is_empty() {
            true => self.courier.state().await?,
            false => self.enter().await?,
        };
        // An operator may have moved it.
        self.account.from.clone_from(&state.cursor);
        self.account.to.clone_from(&state.cursor);
        let after: Cursor = state.cursor.parse().map_err(|_| FeedError::Foreign)?;
        self.more = false;
        self.read_again(after, &state).await?;
        if state.retries.len() + self.jobs.len() < State::RETRIES_MAX {
            self.read_on(after).await?;
        }
        Ok(state.held_until(&self.courier.me).is_some())
    }

    async fn read_again(&mut self, after: Cursor, state: &State) -> Result<(), FeedError> {
        let now = now_ms();
        let is_due = |retry: &&Retry| {
            retry.next_ms <= now && !self.open.iter().any(|open| open.is_of(retry))
        };
        let mut due: Vec<_> = state.retries.iter().filter(is_due).cloned().collect();
        due.sort_by_key(|retry| retry.next_ms);
        self.more |= due.len() > AGAIN_MAX;
        for retry in due.into_iter().take(AGAIN_MAX) {
            match self.courier.find(after, retry.saga_id, retry.seq).await? {
                Some(delivery) => self.open(retry, delivery),
                None => {
                    self.lost(&retry, "retention has deleted the saga");
                    self.account.settled.push((retry, Fate::Forgotten));
                }
            }
        }
        Ok(())
    }

    async fn read_on(&mut self, after: Cursor) -> Result<(), FeedError> {
        let page = self.courier.store.feed(after, PAGE).await?;
        self.more |= page.more;
        let now = now_ms();
        for entry in &page.entries {
            if let Some(delivery) = self.courier.delivery_of(entry).await {
                let (saga_id, seq) = (entry.id, entry.row.seq);
                let retry = Retry { saga_id, seq, tries: 0, first_ms: now, next_ms: now };
                self.account.unsent.push(retry.clone());
                self.open(retry, delivery);
            }
        }
        // The newest place alone is no progress: it is told anew at every reading.
        if !page.entries.is_empty() {
            self.account.to = page.cursor.to_string();
        }
        Ok(())
    }

    fn open(&mut self, retry: Retry, delivery: Delivery) {
        self.open.push(retry.clone());
        self.jobs.push_back((retry, delivery));
    }

    /// Whether to go on.
    fn settle(&mut self, retry: Retry, sent: Sent) -> bool {
        self.open.retain(|open| *open != retry);
        self.account.unsent.retain(|unsent| *unsent != retry);
        let fate = match sent {
            Sent::Delivered => {
                self.courier.count(Outcome::Delivered);
                Fate::Delivered
            }
            Sent::Gone => Fate::Gone { why: "the endpoint answered 410 Gone".to_owned() },
            Sent::Failed { why, wait } => self.failed(&retry, why, wait),
        };
        let goes_on = !matches!(fate, Fate::Gone { .. });
        self.account.settled.push((retry, fate));
        goes_on
    }

    fn failed(&self, retry: &Retry, why: String, wait: Option<Duration>) -> Fate {
        self.courier.count(Outcome::Failed);
        let (now, hook) = (now_ms(), &self.courier.hook);
        tracing::warn!(webhook = hook.name, saga_id = %retry.saga_id, why, "webhook delivery failed");
        let is_given_up = now.saturating_sub(retry.first_ms) >= ms(hook.give_up);
        if is_given_up {
            self.lost(retry, &why);
        }
        Fate::Failed { why, again: (!is_given_up).then(|| later(retry.clone(), now, wait)) }
    }

    fn lost(&self, retry: &Retry, why: &str) {
        self.courier.count(Outcome::Lost);
        let (webhook, saga_id) = (&self.courier.hook.name, retry.saga_id);
        tracing::error!(webhook, %saga_id, seq = retry.seq, why, "webhook delivery lost");
    }

    /// Enters what was delivered so far; whether to go on.
    async fn renew(&mut self) -> Result<bool, FeedError> {
        Ok(self.enter().await?.held_until(&self.courier.me).is_some())
    }

    /// Enters what was delivered so far and renews the lease; how the webhook stands then.
    async fn enter(&mut self) -> Result<State, StoreError> {
        let Courier { store, hook, me, .. } = self.courier;
        let account = self.account.clone();
        let by_a_fault = account.may_switch_off();
        let enter = Change::Enter { account, by: me.clone(), lease: LEASE };
        let entered = state::change(&**store, &hook.name, &enter).await?;
        let gone = || StoreError::Unavailable("the register of a webhook is gone".to_owned());
        let state = entered.ok_or_else(gone)?;
        self.account.entered();
        if let (Some(off), true) = (&state.off, by_a_fault) {
            tracing::error!(webhook = hook.name, why = off.why, "webhook switched off");
        }
        Ok(state)
    }
}

impl Courier {
    /// That there may be something to deliver, at the earliest after `pause`.
    async fn news(&self, pause: Duration) {
        let earliest = Instant::now() + pause;
        self.app.client().news().await;
        sleep_until(earliest).await;
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
        // What the webhook is told of may have been changed since, or an operator wants it told.
        let (events, definitions) = (OCCASIONS.into(), [].into());
        let all = Webhook { events, definitions, ..self.hook.clone() };
        let spec = self.app.spec(&entry.definition).await.ok().flatten();
        Ok(delivery(&all, &entry, spec.as_deref()))
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
fn status_after(row: &LogRow) -> Option<Status> {
    let transition = row.decode().ok()?;
    transition.events.iter().rev().find_map(|event| match event {
        Event::SagaStuck { .. } => Some(Status::Stuck),
        Event::SagaEnded { verdict: Verdict::Completed } => Some(Status::Completed),
        Event::SagaEnded { verdict: Verdict::Compensated } => Some(Status::Compensated),
        Event::SagaEnded { .. } => Some(Status::Stopped),
        _ => None,
    })
}
