//! Who may do what: roles and API keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// What a caller may do; each role may do all that those before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See sagas, definitions, workers, metrics.
    Viewer,
    /// Start sagas too.
    Starter,
    /// Give commands to sagas too.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Starter, Self::Operator, Self::Admin];

    /// Its name in configuration and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Starter => "starter",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| KeyError::Role(text.to_owned()))
    }
}

/// An API key as it is kept: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name in the log of commands: letters, digits and hyphens.
    pub id: String,
    /// What its holder may do.
    pub role: Role,
    /// SHA-256 of the whole key, as 64 hexadecimal digits.
    pub sha256: String,
    /// From when on it is refused, in seconds since 1970. Without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is")]
pub enum KeyError {
    #[error("role {0:?} is unknown: expected viewer, starter, operator or admin")]
    Role(String),
    #[error("key id {0:?}: expected 1 to 64 lower-case letters, digits and hyphens")]
    Id(String),
    #[error(
        "sha256 of key {0}: expected 64 hexadecimal digits, as `saga-worker keys new` prints them"
    )]
    Hash(String),
    #[error("key id {0:?} stands twice: give each key an id of its own")]
    Twice(String),
}

impl ApiKey {
    /// A new key and its text `sk_<id>_<secret>`, which is kept nowhere: hand it to its holder.
    ///
    /// # Errors
    /// [`KeyError::Id`] when the id has other characters than it may have.
    pub fn create(id: &str, role: Role) -> Result<(Self, String), KeyError> {
        if !is_id(id) {
            return Err(KeyError::Id(id.to_owned()));
        }
        let text = format!("sk_{id}_{}", secret());
        let sha256 = hex(&sha256(&text));
        Ok((Self { id: id.to_owned(), role, sha256, expires: None }, text))
    }

    /// The same key, refused from then on, in seconds since 1970.
    #[must_use]
    pub fn expiring(self, at: u64) -> Self {
        Self { expires: Some(at), ..self }
    }

    fn is_valid(&self, now: u64) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

/// The keys that are valid here. Two of one holder can be valid at a time, to replace one by another.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<(ApiKey, [u8; 32])>);

/// Who makes a request, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The id of the key; `None` for somebody without one.
    pub key: Option<String>,
    /// What they may do.
    pub role: Role,
}

/// What a stream remembers of the key that opened it, to find out whether it is still good.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Who opened it.
    pub(crate) principal: Principal,
    /// The digest of the key, so that another one under the same id is not taken for it.
    digest: Option<[u8; 32]>,
}

impl ApiKeys {
    /// What to remember of a key.
    pub(crate) fn hold(&self, principal: &Principal) -> Held {
        Held { principal: principal.clone(), digest: self.digest(principal) }
    }

    /// Whether a key is what it was when it was held.
    pub(crate) fn still_hold(&self, held: &Held) -> bool {
        match &held.principal.key {
            Some(_) => held.digest.is_some() && self.digest(&held.principal) == held.digest,
            None => self.is_empty(),
        }
    }

    fn digest(&self, principal: &Principal) -> Option<[u8; 32]> {
        let (id, now) = (principal.key.as_deref()?, now());
        let is = |key: &ApiKey| key.id == id && key.role == principal.role && key.is_valid(now);
        let known = self.0.iter().find(|(key, _)| is(key));
        known.map(|(_, digest)| *digest)
    }

    /// Checks the keys.
    ///
    /// # Errors
    /// Every [`KeyError`] there is.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, Vec<KeyError>> {
        let (mut checked, mut faults) = (Self::default(), Vec::new());
        for key in keys {
            let known = checked.0.iter().any(|(known, _)| known.id == key.id);
            match (is_id(&key.id), known, unhex(&key.sha256)) {
                (false, ..) => faults.push(KeyError::Id(key.id)),
                (_, true, _) => faults.push(KeyError::Twice(key.id)),
                (_, _, None) => faults.push(KeyError::Hash(key.id)),
                (true, false, Some(digest)) => checked.0.push((key, digest)),
            }
        }
        if faults.is_empty() { Ok(checked) } else { Err(faults) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their ids and roles.
    pub fn holders(&self) -> impl Iterator<Item = (&str, Role)> {
        self.0.iter().map(|(key, _)| (key.id.as_str(), key.role))
    }

    /// Whose key this text is. All keys are compared, each in constant time, so that the time it
    /// takes tells nothing of them.
    pub fn recognise(&self, text: &str) -> Option<Principal> {
        let key = self.find(text).filter(|key| key.is_valid(now()))?;
        Some(Principal { key: Some(key.id.clone()), role: key.role })
    }

    /// Whether this text is a key that was valid once.
    pub(crate) fn has_expired(&self, text: &str) -> bool {
        self.find(text).is_some_and(|key| !key.is_valid(now()))
    }

    fn find(&self, text: &str) -> Option<&ApiKey> {
        let offered = sha256(text);
        let mut found = None;
        for (key, digest) in &self.0 {
            if bool::from(digest.ct_eq(&offered)) {
                found = Some(key);
            }
        }
        found
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.holders()).finish()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=64).contains(&id.len()) && id.chars().all(plain)
}

/// A text that nobody can guess.
pub(crate) fn secret() -> String {
    [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(|id| id.simple().to_string()).concat()
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_recognised_and_any_other_text_is_not() {
        let (kept, text) = ApiKey::create("ops-1", Role::Operator).unwrap();
        assert!(text.starts_with("sk_ops-1_") && !kept.sha256.contains(&text[9..]));
        let keys = ApiKeys::new([kept.clone()]).unwrap();
        let holder = Principal { key: Some("ops-1".into()), role: Role::Operator };
        assert_eq!(keys.recognise(&text), Some(holder));
        for other in ["", "sk_ops-1_", &text[..text.len() - 1], kept.sha256.as_str()] {
            assert_eq!(keys.recognise(other), None, "{other}");
        }
    }

    #[test]
    fn two_keys_of_one_holder_are_valid_side_by_side() {
        let (old, old_text) = ApiKey::create("shop-1", Role::Starter).unwrap();
        let (new, new_text) = ApiKey::create("shop-2", Role::Starter).unwrap();
        let keys = ApiKeys::new([old, new]).unwrap();
        assert!(keys.recognise(&old_text).is_some() && keys.recognise(&new_text).is_some());
    }

    #[test]
    fn a_key_is_good_until_it_expires_and_what_it_opened_ends_with_it() {
        let (key, text) = ApiKey::create("shop-1", Role::Viewer).unwrap();
        let keys = |expires| ApiKeys::new([key.clone().expiring(expires)]).unwrap();
        let (valid, expired) = (keys(now() + 3_600), keys(now()));
        let holder = valid.recognise(&text).unwrap();
        let held = valid.hold(&holder);
        assert!(valid.still_hold(&held) && !valid.has_expired(&text));
        assert!(expired.recognise(&text).is_none() && expired.has_expired(&text));
        assert!(!expired.still_hold(&held) && !expired.has_expired("sk_shop-1_guess"));
    }

    #[test]
    fn every_faulty_key_is_named() {
        let (good, _) = ApiKey::create("a", Role::Viewer).unwrap();
        let faulty = ApiKey { id: "b c".into(), ..good.clone() };
        let unhashed = ApiKey { id: "c".into(), sha256: "é".repeat(32), ..good.clone() };
        let faults = ApiKeys::new([good.clone(), faulty, unhashed, good]).unwrap_err();
        let expected =
            [KeyError::Id("b c".into()), KeyError::Hash("c".into()), KeyError::Twice("a".into())];
        assert_eq!(faults, expected);
        assert!(ApiKey::create("Ops", Role::Admin).is_err());
    }
}
