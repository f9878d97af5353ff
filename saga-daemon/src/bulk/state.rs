//! The register of a bulk.

use std::collections::BTreeMap;

use saga_core::store::{Query, Store, StoreError};
use saga_core::{CommandAction, SagaId, Status, Timestamp};
use saga_worker::Search;
use serde::{Deserialize, Serialize};

use crate::register::{self, Lease, now_ms};

/// What the names of the registers begin with.
const PREFIX: &str = "bulk/";
/// Bulks that are kept; of those that have ended the oldest make room.
const KEPT: usize = 100;

/// A bulk and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bulk {
    pub(crate) id: String,
    pub(crate) action: CommandAction,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) filter: Filter,
    /// Sagas for each second.
    pub(crate) rate: u32,
    pub(crate) phase: Phase,
    pub(crate) started_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_ms: Option<u64>,
    /// Everything from here on, in the order of a list, is still to be done.
    pub(crate) before: SagaId,
    pub(crate) counts: Counts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
}

/// Where a bulk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running,
    Done,
    Cancelled,
}

/// Which sagas are meant; what is empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    pub(crate) statuses: Vec<Status>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) step: Option<String>,
    pub(crate) key_prefix: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) started_after: Option<i64>,
    pub(crate) started_before: Option<i64>,
}

impl Filter {
    /// The search for a page of it.
    pub(crate) fn search(&self, before: SagaId, limit: u32) -> Search {
        let Self { statuses, name, version, step, key_prefix, text, started_after, started_before } =
            self.clone();
        let (key, before) = (None, Some(before));
        Search {
            query: Query { statuses, name, key, before, limit },
            version,
            step,
            key_prefix,
            text,
            started_after: started_after.map(Timestamp::from_micros),
            started_before: started_before.map(Timestamp::from_micros),
        }
    }
}

/// What has become of the sagas so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) matched: u64,
    pub(crate) accepted: u64,
    /// On record, and no worker has answered yet.
    pub(crate) unanswered: u64,
    /// Refused, by the reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl Counts {
    /// Different reasons that are told apart; further ones are counted as `other reasons`.
    const REASONS_MAX: usize = 20;

    pub(crate) fn refuse(&mut self, why: String) {
        let known = self.refused.contains_key(&why) || self.refused.len() < Self::REASONS_MAX;
        let why = if known { why } else { "other reasons".to_owned() };
        *self.refused.entry(why).or_default() += 1;
    }
}

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Give no further command.
    Cancel,
    /// This daemon carries it out no more.
    Release { by: String },
}

/// Puts a bulk on record; those that ended longest ago make room.
pub(crate) async fn create(store: &dyn Store, bulk: &Bulk) -> Result<(), StoreError> {
    let mut ended: Vec<Bulk> = list(store).await?;
    ended.retain(|known| known.phase != Phase::Running);
    ended.sort_by_key(|known| std::cmp::Reverse(known.started_ms));
    for old in ended.iter().skip(KEPT - 1) {
        store.remove_register(&name(&old.id)).await?;
    }
    match save(store, 0, bulk).await? {
        true => Ok(()),
        // Our own, if the answer to its first try was lost.
        false => match find(store, &bulk.id).await? {
            Some((_, known)) if known == *bulk => Ok(()),
            _ => Err(StoreError::Unavailable(format!("bulk {} could not be stored", bulk.id))),
        },
    }
}

/// All bulks on record.
pub(crate) async fn list(store: &dyn Store) -> Result<Vec<Bulk>, StoreError> {
    let bulks = register::list(store, PREFIX).await?;
    Ok(bulks.into_iter().map(|(_, bulk)| bulk).collect())
}

/// A bulk and the version of its register.
pub(crate) async fn find(store: &dyn Store, id: &str) -> Result<Option<(u64, Bulk)>, StoreError> {
    register::load(store, &name(id)).await
}

/// Makes a change, whoever carries it out meanwhile. `None`: there is no such bulk.
pub(crate) async fn change(
    store: &dyn Store,
    id: &str,
    change: &Change,
) -> Result<Option<Bulk>, StoreError> {
    let apply = |bulk: &mut Bulk| match change {
        Change::Cancel if bulk.phase == Phase::Running => {
            (bulk.phase, bulk.ended_ms) = (Phase::Cancelled, Some(now_ms()));
        }
        Change::Cancel => {}
        Change::Release { by } => bulk.lease = bulk.lease.take().filter(|lease| lease.by != *by),
    };
    register::change(store, &name(id), apply).await
}

/// `false`: somebody else has changed it meanwhile.
pub(super) async fn save(store: &dyn Store, version: u64, bulk: &Bulk) -> Result<bool, StoreError> {
    register::save(store, &name(&bulk.id), version, bulk).await
}

fn name(id: &str) -> String {
    format!("{PREFIX}{id}")
}
