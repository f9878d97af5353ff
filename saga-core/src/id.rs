//! Names and identities as types of their own, parsed once at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::time::Timestamp;

/// Upper bound of the number of buckets: a bucket occupies the last 12 bits of a [`SagaId`].
pub const BUCKETS_MAX: u16 = 4096;

/// The identity of one saga: a UUID of version 7 whose last 12 bits are its [`Bucket`].
///
/// The bucket travels in the public id so that looking a saga up by its id
/// touches a single shard of a distributed database. Text form: the usual
/// hyphenated lower-case UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(u128);

impl SagaId {
    /// Builds an id from the time, 128 random bits (62 of them are used) and a bucket.
    pub fn new(unix_ms: u64, entropy: u128, bucket: Bucket) -> Self {
        let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
        let random_a = (entropy >> 112) << 64;
        let random_b = (entropy & 0x3fff_ffff_ffff_f000) | (0b10 << 62);
        Self(time | (0x7 << 76) | (random_a & (0xfff << 64)) | random_b | u128::from(bucket.0))
    }

    /// The bucket carried in the id.
    pub fn bucket(self) -> Bucket {
        Bucket((self.0 & 0xfff) as u16)
    }

    /// The milliseconds since 1970 in it: when the saga was started, as its starter's clock told it.
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The smallest of all ids of this millisecond, to look for sagas before and after it. A time
    /// that is later than any id can hold is after all of them.
    pub const fn first_at(unix_ms: u64) -> Self {
        match unix_ms >> 48 {
            0 => Self((unix_ms as u128) << 80),
            _ => Self(u128::MAX),
        }
    }

    /// Whether it is a UUID of version 7, as every id is that was made here; a text may be another.
    pub const fn is_version_7(self) -> bool {
        (self.0 >> 76) & 0xf == 0x7 && (self.0 >> 62) & 0b11 == 0b10
    }

    /// The 16 bytes as stores keep them.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// An id read back from a store.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// A number to seed jitter with: the same on every worker, different for every saga.
    pub const fn seed(self) -> u64 {
        (self.0 ^ (self.0 >> 64)) as u64
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SagaId({self})")
    }
}

impl FromStr for SagaId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self).ok_or_else(|| IdError::SagaId(shorten(text)))
    }
}

/// One of a fixed number of divisions of the data, chosen when a store is initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a start idempotency key (or of any other stable text) among `buckets`.
    ///
    /// `buckets` is taken as at least 1 and at most [`BUCKETS_MAX`].
    pub fn of(text: &str, buckets: u16) -> Self {
        let digest = Digest::of(&[text.as_bytes()]);
        let head = u16::from_be_bytes([digest.as_bytes()[0], digest.as_bytes()[1]]);
        Self(head % buckets.clamp(1, BUCKETS_MAX))
    }

    /// The number, as stores keep it.
    pub const fn number(self) -> i32 {
        self.0 as i32
    }
}

/// The identity of one run of a worker process: a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u128);

impl WorkerId {
    /// An id read back from a store, or made from 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 bytes as stores keep them.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerId({self})")
    }
}

/// The identity of one entry of the audit trail: a UUID of version 7, so that ids are in the order of
/// time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(u128);

impl AuditId {
    /// Behind all that are made here.
    pub const LAST: Self = Self(u128::MAX);

    /// An id read back from a store, or a new UUID of version 7.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The 16 bytes as stores keep them.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The millisecond in it: when the entry was made, as its maker's clock told it.
    pub const fn at(self) -> Timestamp {
        Timestamp::from_micros((self.0 >> 80) as i64 * 1_000)
    }

    /// The smallest of all ids that were not made before this time.
    pub const fn first_at(at: Timestamp) -> Self {
        let micros = at.as_micros();
        let micros = if micros < 0 { 0 } else { micros.unsigned_abs() };
        let ms = micros.div_ceil(1_000);
        if ms >= 1 << 48 { Self::LAST } else { Self((ms as u128) << 80) }
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Debug for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditId({self})")
    }
}

impl FromStr for AuditId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self).ok_or_else(|| IdError::AuditId(shorten(text)))
    }
}

macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

impl FromStr for WorkerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self).ok_or_else(|| IdError::WorkerId(shorten(text)))
    }
}

serde_as_text!(SagaId, WorkerId, AuditId, IdempotencyKey);

/// The position of a step in its definition, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(pub u16);

impl StepIndex {
    /// The position as an index into a list of steps.
    pub const fn usize(self) -> usize {
        self.0 as usize
    }
}

/// A caller-chosen text under which repeating a request has no further effect.
///
/// 1 to 255 bytes, no control characters. Starts of sagas, operator commands
/// and calls to participants each carry one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Longest key, in bytes.
    pub const LEN_MAX: usize = 255;

    /// Checks and wraps a key.
    ///
    /// # Errors
    /// [`IdError::Key`] when it is empty, too long or holds a control character.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let why = if text.is_empty() {
            "is empty".to_owned()
        } else if text.len() > Self::LEN_MAX {
            format!("is {} bytes long", text.len())
        } else if text.chars().any(char::is_control) {
            "holds a control character".to_owned()
        } else {
            return Ok(Self(text));
        };
        Err(IdError::Key { key: shorten(&text), why })
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// Why a text is not an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a saga id.
    #[error(
        "saga id {0:?} is not a UUID: expected 36 characters like 0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6"
    )]
    SagaId(String),
    /// Not a worker id.
    #[error("worker id {0:?} is not a UUID")]
    WorkerId(String),
    /// Not the id of an entry of the audit trail.
    #[error("audit id {0:?} is not a UUID")]
    AuditId(String),
    /// Not an idempotency key.
    #[error("idempotency key {key:?} {why}: expected 1 to 255 bytes without control characters")]
    Key {
        /// The beginning of the offending text.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The beginning of a text, short enough for an error message.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

fn write_uuid(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let group = |shift: u32, bits: u32| (value >> shift) & ((1 << bits) - 1);
    let (a, b, c, d, e) =
        (group(96, 32), group(80, 16), group(64, 16), group(48, 16), group(0, 48));
    write!(f, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

fn parse_uuid(text: &str) -> Option<u128> {
    let hyphenated = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    hyphenated.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_id_can_hold_is_after_all_ids() {
        let last = (1 << 48) - 1;
        let newest = SagaId::new(last, u128::MAX, Bucket::of("any", 1));
        assert!(SagaId::first_at(last) < newest);
        for later in [1 << 48, u64::MAX] {
            assert!(SagaId::first_at(later) > newest, "{later}");
        }
    }

    #[test]
    fn a_saga_id_is_a_version_7_uuid_that_carries_its_bucket() {
        let bucket = Bucket::of("order-17", 256);
        let id = SagaId::new(0x0192_d3a4_5b6c, u128::MAX, bucket);
        assert_eq!(id.bucket(), bucket);
        let text = id.to_string();
        assert!(text.starts_with("0192d3a4-5b6c-7fff-b"), "{text}");
        assert_eq!(text.parse::<SagaId>(), Ok(id));
        assert_eq!(SagaId::from_bytes(id.to_bytes()), id);
    }

    #[test]
    fn a_text_that_is_no_uuid_is_refused_with_what_was_expected() {
        for hostile in
            ["", "x", "0192d3a45b6c7d8e9fa0b1c2d3e4f5a6", "é92d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6"]
        {
            let error = hostile.parse::<SagaId>().expect_err(hostile);
            assert!(error.to_string().contains("expected 36 characters"), "{error}");
        }
    }

    #[test]
    fn an_idempotency_key_must_be_short_and_printable() {
        assert!(IdempotencyKey::new("order-17").is_ok());
        for (hostile, why) in [
            ("".to_owned(), "is empty"),
            ("k".repeat(256), "256 bytes"),
            ("a\nb".to_owned(), "control"),
        ] {
            let error = IdempotencyKey::new(hostile).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn the_first_audit_id_of_a_time_is_before_all_that_were_made_then_and_behind_all_before() {
        let made_in = |ms: u128| AuditId((ms << 80) | (0x7 << 76) | 0xffff);
        let first = |micros| AuditId::first_at(Timestamp::from_micros(micros));
        assert_eq!(made_in(17).at(), Timestamp::from_micros(17_000));
        assert!(made_in(16) < first(16_001) && first(17_000) < made_in(17));
        assert!(made_in(17) < first(17_001));
        assert_eq!((first(-1), first(i64::MAX)), (first(0), AuditId::LAST));
        assert_eq!(made_in(17).to_string().parse::<AuditId>(), Ok(made_in(17)));
    }

    #[test]
    fn the_bucket_of_a_key_never_changes_between_releases() {
        assert_eq!(Bucket::of("order-17", 256).number(), 169);
        assert_eq!(Bucket::of("order-17", 1).number(), 0);
    }
}
