//! The definitions a process knows, by name and version.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use saga_core::{Definition, DefinitionRef};

/// Definitions by name and version; a name's newest version serves new sagas. Clones share what is
/// registered later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<RwLock<Known>>);

type Known = BTreeMap<(String, u32), Definition>;

/// A registry cannot be built or asked this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The same name and version came twice.
    #[error(
        "definition {name} v{version} is registered twice: give the second one another version"
    )]
    Duplicate {
        /// The definition's name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// There is no such version.
    #[error(
        "definition {name} has no version {version}: there are {}; name one of them, or start a worker that registers v{version} first",
        versions(known)
    )]
    UnknownVersion {
        /// The definition's name.
        name: String,
        /// The version asked for.
        version: u32,
        /// The versions registered here or on record, oldest first.
        known: Vec<u32>,
    },
    /// Nobody registered a definition of this name.
    #[error(
        "no definition named {name:?} is registered here or on record in the store: known here are {known:?}; start a worker that registers it first"
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// Versions in words, such as `v1, v2`.
fn versions(known: &[u32]) -> String {
    let known: Vec<_> = known.iter().map(|version| format!("v{version}")).collect();
    known.join(", ")
}

impl Registry {
    pub(crate) fn new(definitions: Vec<Definition>) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(RwLock::new(without_duplicates(definitions)?))))
    }

    /// Adds definitions, and puts those of a known name and version in the place of what is there.
    pub(crate) fn extend(&self, definitions: Known) {
        // Nothing panics while it is held.
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(definitions);
    }

    pub(crate) fn all(&self) -> Vec<Definition> {
        self.read().values().cloned().collect()
    }

    pub(crate) fn references(&self) -> Vec<DefinitionRef> {
        self.read().values().map(|definition| definition.spec().reference()).collect()
    }

    /// The definition a saga was started with, if it is known here with the same structure.
    pub(crate) fn exact(&self, reference: &DefinitionRef) -> Option<Definition> {
        let definition = self.version(&reference.name, reference.version)?;
        (definition.spec().reference() == *reference).then_some(definition)
    }

    /// The versions registered under a name, oldest first.
    pub(crate) fn versions(&self, name: &str) -> Vec<u32> {
        let known = self.read();
        let versions = known.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX));
        versions.map(|((_, version), _)| *version).collect()
    }

    /// The definition of this name and version.
    pub(crate) fn version(&self, name: &str, version: u32) -> Option<Definition> {
        self.read().get(&(name.to_owned(), version)).cloned()
    }

    pub(crate) fn newest(&self, name: &str) -> Option<Definition> {
        let known = self.read();
        let versions = known.range((name.to_owned(), 0)..=(name.to_owned(), u32::MAX));
        versions.map(|(_, definition)| definition.clone()).next_back()
    }

    /// What to tell somebody who asked for a definition that is not known at all.
    pub(crate) fn unknown(&self, name: &str) -> RegistryError {
        let mut known: Vec<_> = self.read().keys().map(|(name, _)| name.clone()).collect();
        known.dedup();
        RegistryError::Unknown { name: name.to_owned(), known }
    }

    /// Held for a look only, never across a call.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The definitions by name and version.
pub(crate) fn without_duplicates(definitions: Vec<Definition>) -> Result<Known, RegistryError> {
    let mut known = BTreeMap::new();
    for definition in definitions {
        let (name, version) = (definition.spec().name.clone(), definition.spec().version);
        if known.insert((name.clone(), version), definition).is_some() {
            return Err(RegistryError::Duplicate { name, version });
        }
    }
    Ok(known)
}
