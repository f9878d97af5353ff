//! The rollouts of a process: which version its new sagas start on when the caller names none.

use std::collections::BTreeMap;

use saga_core::store::{Store, StoreError};
use saga_core::{Rollout, RolloutFaults, Share};

use crate::registry::Registry;

/// A version of a definition and the share of new starts it is to get.
pub(crate) type Wish = (String, u32, Share);

/// The rollout of each definition that has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rollouts(BTreeMap<String, Rollout>);

/// The rollouts asked for cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// Shares that make no sense, every fault named.
    #[error(transparent)]
    Faults(#[from] RolloutFaults),
    /// The store, which knows the definitions that are not registered here, could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Rollouts {
    /// Checks all wishes against the versions there are: those registered in this process or,
    /// where none of that name is, those on record.
    pub(crate) async fn check(
        wishes: impl IntoIterator<Item = Wish>,
        registry: &Registry,
        store: &dyn Store,
    ) -> Result<Self, RolloutError> {
        let mut by_name: BTreeMap<String, Vec<(u32, Share)>> = BTreeMap::new();
        for (name, version, share) in wishes {
            by_name.entry(name).or_default().push((version, share));
        }
        let (mut rollouts, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, shares) in by_name {
            let mut known = registry.versions(&name);
            if known.is_empty() {
                known = on_record(store, &name, &shares).await?;
            }
            match Rollout::new(name.clone(), &known, &shares) {
                Ok(rollout) => drop(rollouts.insert(name, rollout)),
                Err(RolloutFaults(more)) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(Self(rollouts)) } else { Err(RolloutFaults(faults).into()) }
    }

    /// The version a start begins on; `None` where there is no rollout of that name.
    pub(crate) fn version_of(&self, name: &str, key: &str) -> Option<u32> {
        self.0.get(name).map(|rollout| rollout.version_of(key))
    }
}

/// The versions on record. Those above the newest that has a share are left out: somebody else may
/// put one on record at any time, and that must not make the rollouts here faulty.
async fn on_record(
    store: &dyn Store,
    name: &str,
    shares: &[(u32, Share)],
) -> Result<Vec<u32>, StoreError> {
    let mut known = store.versions(name).await?;
    let newest = shares.iter().map(|(version, _)| *version).max();
    if let Some(newest) = newest.filter(|newest| known.contains(newest)) {
        known.retain(|version| *version <= newest);
    }
    Ok(known)
}
