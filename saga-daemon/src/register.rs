//! Registers of the store as documents in JSON: read, changed by compare and set, leased.
//!
//! The times in them are told by the clocks of the daemons. A clock that is wrong makes two daemons
//! work on the same document at once, never lose what is in it: every change is made to the document
//! as it stands.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga_core::store::{Store, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How often a change is tried that another process comes before.
const CHANGES_MAX: usize = 20;

/// The right of one daemon to work on a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) by: String,
    pub(crate) until_ms: u64,
}

impl Lease {
    /// A lease from now on.
    pub(crate) fn new(by: &str, time: Duration) -> Self {
        Self { by: by.to_owned(), until_ms: now_ms().saturating_add(ms(time)) }
    }

    /// Whether it keeps this one from working on the document.
    pub(crate) fn excludes(&self, me: &str) -> bool {
        self.by != me && self.until_ms > now_ms()
    }
}

/// A document and the version of its register.
pub(crate) async fn load<T: DeserializeOwned>(
    store: &dyn Store,
    name: &str,
) -> Result<Option<(u64, T)>, StoreError> {
    let Some(register) = store.register(name).await? else { return Ok(None) };
    Ok(Some((register.version, parse(name, &register.value)?)))
}

/// The documents whose names begin like this, with what comes after that.
pub(crate) async fn list<T: DeserializeOwned>(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<(String, T)>, StoreError> {
    let registers = store.registers(prefix).await?;
    let read = |(name, register): (String, saga_core::store::Register)| {
        Ok((name[prefix.len()..].to_owned(), parse(&name, &register.value)?))
    };
    registers.into_iter().map(read).collect()
}

/// Sets a document that stands at this version, 0 for a new one. `false`: it stands elsewhere.
pub(crate) async fn save<T: Serialize>(
    store: &dyn Store,
    name: &str,
    version: u64,
    document: &T,
) -> Result<bool, StoreError> {
    let json = serde_json::to_string(document).expect("documents hold only text and numbers");
    store.set_register(name, version, &json).await
}

/// Changes a document, whoever changes it meanwhile. `None`: there is none of this name.
pub(crate) async fn change<T: Serialize + DeserializeOwned>(
    store: &dyn Store,
    name: &str,
    apply: impl Fn(&mut T),
) -> Result<Option<T>, StoreError> {
    for _ in 0..CHANGES_MAX {
        let Some((version, mut document)) = load(store, name).await? else { return Ok(None) };
        apply(&mut document);
        if save(store, name, version, &document).await? {
            return Ok(Some(document));
        }
    }
    Err(StoreError::Unavailable(format!("register {name} is being changed all the time")))
}

fn parse<T: DeserializeOwned>(name: &str, json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::Corrupt(format!("register {name}: {error}")))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ms(since)
}

/// A duration in milliseconds.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
