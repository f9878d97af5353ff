//! The register of a webhook: its place in the feed, its retries, its lease.

use std::time::Duration;

use saga_core::SagaId;
use saga_core::store::{Cursor, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::register::{self, Lease, now_ms};

/// What the names of the registers begin with.
const PREFIX: &str = "webhook/";

/// How a webhook stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Everything up to there was delivered or is among the retries.
    pub(crate) cursor: String,
    /// Why nothing is sent, and since when, if it is switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) off: Option<Off>,
    /// Since when nothing could be delivered, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing_since_ms: Option<u64>,
    #[serde(default)]
    pub(crate) delivered: u64,
    #[serde(default)]
    pub(crate) failed: u64,
    /// Deliveries that were given up; what retention has deleted before it was read counts as one.
    #[serde(default)]
    pub(crate) lost: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    /// What is to be tried again, or was asked for once more.
    #[serde(default)]
    pub(crate) retries: Vec<Retry>,
    /// The daemon that delivers, and until when it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
}

/// That a webhook is switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Off {
    pub(crate) since_ms: u64,
    pub(crate) why: String,
}

/// A delivery that is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retry {
    pub(crate) saga_id: SagaId,
    pub(crate) seq: u64,
    /// Tries so far.
    pub(crate) tries: u32,
    pub(crate) first_ms: u64,
    pub(crate) next_ms: u64,
}

impl Retry {
    /// Whether both are of the same transition.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        (self.saga_id, self.seq) == (other.saga_id, other.seq)
    }
}

impl State {
    /// Most retries of a webhook. While it has so many it does not move on.
    pub(crate) const RETRIES_MAX: usize = 1_000;

    pub(super) fn at(cursor: &Cursor) -> Self {
        Self { cursor: cursor.to_string(), ..Self::default() }
    }

    /// Whether somebody else delivers.
    pub(super) fn is_held_by_another(&self, me: &str) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.excludes(me))
    }

    /// Until when this daemon may deliver, in milliseconds since 1970; `None` if it may not.
    pub(super) fn held_until(&self, me: &str) -> Option<u64> {
        let held = self.lease.as_ref().filter(|lease| lease.by == me && self.off.is_none());
        held.map(|lease| lease.until_ms)
    }

    /// What this daemon has come to, entered into the webhook as it stands now: an operator may have
    /// changed it meanwhile, and another daemon may have taken over.
    fn enter(&mut self, account: &Account) {
        let is_at = self.cursor == account.from;
        if is_at {
            self.cursor.clone_from(&account.to);
        }
        for (retry, fate) in &account.settled {
            // Not by its times: an operator who enables the webhook has everything tried at once.
            self.retries.retain(|known| !known.is_of(retry) || known.tries != retry.tries);
            match fate {
                Fate::Delivered => {
                    self.delivered += 1;
                    (self.failing_since_ms, self.last_error) = (None, None);
                }
                Fate::Failed { why, again } => {
                    self.failed += 1;
                    self.last_error = Some(why.clone());
                    match again {
                        Some(again) => self.owe(again),
                        None => self.lost += 1,
                    }
                    let since = *self.failing_since_ms.get_or_insert_with(now_ms);
                    if now_ms().saturating_sub(since) >= account.disable_after_ms {
                        self.switch_off(&format!(
                            "nothing could be delivered for too long; last: {why}"
                        ));
                    }
                }
                Fate::Gone { why } => {
                    self.switch_off(why);
                    self.owe(retry);
                }
                Fate::Forgotten => self.lost += 1,
            }
        }
        // Elsewhere these are read again, or an operator wanted them passed over.
        account.unsent.iter().filter(|_| is_at).for_each(|retry| self.owe(retry));
    }

    fn owe(&mut self, retry: &Retry) {
        if !self.retries.iter().any(|known| known.is_of(retry)) {
            self.retries.push(retry.clone());
        }
    }

    fn switch_off(&mut self, why: &str) {
        self.off.get_or_insert_with(|| Off { since_ms: now_ms(), why: why.to_owned() });
    }
}

/// What has come of a part of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The place in the feed before and after what was read.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) settled: Vec<(Retry, Fate)>,
    /// What was read and waits to be sent.
    pub(super) unsent: Vec<Retry>,
    /// How long nothing may have been delivered.
    pub(super) disable_after_ms: u64,
}

impl Account {
    /// Whether there is nothing to enter.
    pub(super) fn is_empty(&self) -> bool {
        self.from == self.to && self.settled.is_empty() && self.unsent.is_empty()
    }

    /// It is in the register now.
    pub(super) fn entered(&mut self) {
        self.from.clone_from(&self.to);
        self.settled.clear();
        self.unsent.clear();
    }

    /// Whether something in it can have switched the webhook off.
    pub(super) fn may_switch_off(&self) -> bool {
        let bad = |fate: &Fate| matches!(fate, Fate::Failed { .. } | Fate::Gone { .. });
        self.settled.iter().any(|(_, fate)| bad(fate))
    }
}

/// What has come of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    /// Without a further try it is lost.
    Failed {
        why: String,
        again: Option<Retry>,
    },
    /// The endpoint wants nothing any more.
    Gone {
        why: String,
    },
    /// Its saga is no longer on record.
    Forgotten,
}

/// A change to a webhook.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Switch it on again.
    Enable,
    /// Send nothing until it is enabled.
    Disable { why: String },
    /// Go on from this place, forwards or backwards.
    GoTo { cursor: String },
    /// Deliver these transitions once more.
    Again { transitions: Vec<(SagaId, u64)> },
    /// Retention has deleted what comes after its place: go on from this one.
    Overtaken { cursor: String, why: String },
    /// This is what was delivered; the lease of who did it goes on.
    Enter { account: Account, by: String, lease: Duration },
    /// This daemon delivers from now on, if nobody else does.
    Take { by: String, lease: Duration },
    /// This daemon delivers no more.
    Release { by: String },
}

impl Change {
    fn apply(&self, state: &mut State) {
        let now_ms = now_ms();
        match self {
            Self::Enable => {
                (state.off, state.failing_since_ms) = (None, None);
                for retry in &mut state.retries {
                    (retry.first_ms, retry.next_ms) = (now_ms, now_ms);
                }
            }
            Self::Disable { why } => {
                state.off = Some(Off { since_ms: now_ms, why: why.clone() });
            }
            Self::GoTo { cursor } => state.cursor.clone_from(cursor),
            Self::Again { transitions } => {
                for (saga_id, seq) in transitions {
                    let (saga_id, seq, tries) = (*saga_id, *seq, 0);
                    let retry = Retry { saga_id, seq, tries, first_ms: now_ms, next_ms: now_ms };
                    state.retries.retain(|known| !known.is_of(&retry));
                    state.retries.push(retry);
                }
            }
            Self::Overtaken { cursor, why } => {
                state.cursor.clone_from(cursor);
                state.lost += 1;
                state.last_error = Some(why.clone());
            }
            Self::Enter { account, by, lease } => {
                state.enter(account);
                if state.lease.as_ref().is_some_and(|held| held.by == *by) {
                    state.lease = Some(Lease::new(by, *lease));
                }
            }
            Self::Take { by, lease } => {
                if !state.is_held_by_another(by) && state.off.is_none() {
                    state.lease = Some(Lease::new(by, *lease));
                }
            }
            Self::Release { by } => {
                state.lease = state.lease.take().filter(|lease| lease.by != *by);
            }
        }
    }
}

/// Makes a change, whoever delivers meanwhile. `None`: there is no webhook of this name on record.
pub(crate) async fn change(
    store: &dyn Store,
    name: &str,
    change: &Change,
) -> Result<Option<State>, StoreError> {
    register::change(store, &format!("{PREFIX}{name}"), |state| change.apply(state)).await
}

/// The webhooks on record with how they stand.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<(String, State)>, StoreError> {
    register::list(store, PREFIX).await
}

pub(crate) async fn load(store: &dyn Store, name: &str) -> Result<Option<State>, StoreError> {
    Ok(register::load(store, &format!("{PREFIX}{name}")).await?.map(|(_, state)| state))
}

/// The age of the oldest transition that a webhook has not been told of, zero if there is none and
/// `None` if there is no telling.
pub(crate) async fn age(store: &dyn Store, state: &State) -> Option<Duration> {
    let next = store.feed(state.cursor.parse().ok()?, 1).await.ok()?;
    let read = next.entries.first().map(|entry| entry.row.at.as_micros() / 1_000);
    let read = read.map(|at| u64::try_from(at).unwrap_or_default());
    let failed = state.retries.iter().map(|retry| retry.first_ms).min();
    let since = read.into_iter().chain(failed).min();
    Some(since.map_or(Duration::ZERO, |at| Duration::from_millis(now_ms().saturating_sub(at))))
}

/// Puts a new webhook on record, unless it is there.
pub(super) async fn begin(
    store: &dyn Store,
    name: &str,
    state: &State,
) -> Result<bool, StoreError> {
    register::save(store, &format!("{PREFIX}{name}"), 0, state).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(seq: u64, tries: u32) -> Retry {
        let saga_id = "0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6".parse().unwrap();
        Retry { saga_id, seq, tries, first_ms: 1, next_ms: 1 }
    }

    fn account() -> Account {
        Account {
            from: "a".to_owned(),
            to: "b".to_owned(),
            settled: vec![
                (retry(1, 0), Fate::Delivered),
                (retry(2, 0), Fate::Failed { why: "500".to_owned(), again: Some(retry(2, 1)) }),
            ],
            unsent: vec![retry(3, 0)],
            disable_after_ms: 60_000,
        }
    }

    fn enter(state: &mut State) {
        let (by, lease) = ("me".to_owned(), Duration::from_secs(10));
        Change::Enter { account: account(), by, lease }.apply(state);
    }

    #[test]
    fn what_was_read_is_delivered_or_owed_when_the_place_moves_on() {
        let mut state = State { cursor: "a".to_owned(), ..State::default() };
        enter(&mut state);
        assert_eq!((state.cursor.as_str(), state.delivered, state.failed), ("b", 1, 1));
        assert_eq!(state.retries, [retry(2, 1), retry(3, 0)]);
        enter(&mut state);
        assert_eq!(state.retries.len(), 2, "nothing is owed twice");
    }

    #[test]
    fn the_place_an_operator_goes_to_stands_and_what_failed_is_owed_all_the_same() {
        let mut state = State { cursor: "a".to_owned(), ..State::default() };
        Change::GoTo { cursor: "z".to_owned() }.apply(&mut state);
        enter(&mut state);
        assert_eq!((state.cursor.as_str(), &state.retries[..]), ("z", &[retry(2, 1)][..]));
    }

    #[test]
    fn what_was_under_way_when_the_webhook_was_enabled_is_not_owed_once_it_is_delivered() {
        let retries = vec![retry(1, 0), retry(9, 4)];
        let mut state = State { cursor: "a".to_owned(), retries, ..State::default() };
        Change::Enable.apply(&mut state);
        enter(&mut state);
        assert!(!state.retries.iter().any(|known| known.seq == 1), "{:?}", state.retries);
        assert!(state.retries.iter().any(|known| known.seq == 9));
    }

    #[test]
    fn entering_gives_no_lease_to_a_daemon_that_another_has_taken_over_from() {
        let lease = Some(Lease::new("other", Duration::from_secs(10)));
        let mut state = State { cursor: "a".to_owned(), lease: lease.clone(), ..State::default() };
        enter(&mut state);
        assert_eq!((state.lease, state.delivered), (lease, 1));
    }
}
