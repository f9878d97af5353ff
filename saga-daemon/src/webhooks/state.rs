//! The register of a webhook: its place in the feed, its retries, its lease.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga_core::SagaId;
use saga_core::store::{Cursor, Store, StoreError};
use serde::{Deserialize, Serialize};

/// What the names of the registers begin with.
pub(super) const PREFIX: &str = "webhook/";
/// How often a change is tried that another process comes before.
const CHANGES_MAX: usize = 20;

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
    /// Deliveries that were given up.
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

/// The right to deliver for a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) by: String,
    pub(crate) until_ms: u64,
}

impl State {
    pub(super) fn at(cursor: &Cursor) -> Self {
        Self { cursor: cursor.to_string(), ..Self::default() }
    }

    /// Whether somebody else delivers.
    pub(super) fn is_held_by_another(&self, me: &str, now_ms: u64) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.by != me && lease.until_ms > now_ms)
    }
}

/// A change that an operator asks for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Switch it on again.
    Enable,
    /// Send nothing until it is enabled.
    Disable { why: String },
    /// Go on from this place, forwards or backwards.
    GoTo { cursor: String },
    /// This daemon delivers no more.
    Release { by: String },
    /// Deliver these transitions once more.
    Again { transitions: Vec<(SagaId, u64)> },
}

impl Change {
    fn apply(&self, state: &mut State, now_ms: u64) {
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
            Self::Release { by } => {
                state.lease = state.lease.take().filter(|lease| lease.by != *by);
            }
            Self::Again { transitions } => {
                for (saga_id, seq) in transitions {
                    let known = |retry: &Retry| (retry.saga_id, retry.seq) == (*saga_id, *seq);
                    state.retries.retain(|retry| !known(retry));
                    let (first_ms, next_ms) = (now_ms, now_ms);
                    let retry = Retry { saga_id: *saga_id, seq: *seq, tries: 0, first_ms, next_ms };
                    state.retries.push(retry);
                }
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
    for _ in 0..CHANGES_MAX {
        let Some((version, mut state)) = load(store, name).await? else { return Ok(None) };
        change.apply(&mut state, now_ms());
        if save(store, name, version, &state).await? {
            return Ok(Some(state));
        }
    }
    Err(StoreError::Unavailable(format!("webhook {name} is being changed all the time")))
}

/// The webhooks on record with how they stand.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<(String, State)>, StoreError> {
    let registers = store.registers(PREFIX).await?;
    let read = |(name, register): (String, saga_core::store::Register)| {
        Ok((name[PREFIX.len()..].to_owned(), parse(&name, &register.value)?))
    };
    registers.into_iter().map(read).collect()
}

pub(super) async fn load(
    store: &dyn Store,
    name: &str,
) -> Result<Option<(u64, State)>, StoreError> {
    let name = format!("{PREFIX}{name}");
    let Some(register) = store.register(&name).await? else { return Ok(None) };
    Ok(Some((register.version, parse(&name, &register.value)?)))
}

/// `false`: somebody else has changed it meanwhile.
pub(super) async fn save(
    store: &dyn Store,
    name: &str,
    version: u64,
    state: &State,
) -> Result<bool, StoreError> {
    let json = serde_json::to_string(state).expect("it holds only text and numbers");
    store.set_register(&format!("{PREFIX}{name}"), version, &json).await
}

fn parse(name: &str, json: &str) -> Result<State, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Corrupt(format!("register {name}: {error}")))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
