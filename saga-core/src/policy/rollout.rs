//! Which version of a definition a new saga starts on while a newer one is being rolled out.
//!
//! The decision rests on the start's key alone, so it is the same in every process and at every
//! repetition, and a larger share only ever adds keys to the ones a version has already.

use std::fmt;

use crate::digest::Digest;

/// Parts of the whole that a [`Share`] is counted in.
const WHOLE: u32 = 10_000;

/// A share of the new starts of a definition, exact to a hundredth of a percent.
///
/// ```
/// use saga_core::Share;
/// assert_eq!(Share::percent(10), Share::basis_points(1_000));
/// assert_eq!(Share::basis_points(25).to_string(), "0.25 %");
/// ```
///
/// More than 100 % can be written down and is refused where the share is put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// So many in a hundred.
    pub const fn percent(percent: u32) -> Self {
        Self(percent.saturating_mul(WHOLE / 100))
    }

    /// So many in ten thousand.
    pub const fn basis_points(points: u32) -> Self {
        Self(points)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{percent} %"),
            _ if rest % 10 == 0 => write!(f, "{percent}.{} %", rest / 10),
            _ => write!(f, "{percent}.{rest:02} %"),
        }
    }
}

/// How the new starts of one definition are shared out among its versions.
///
/// ```
/// use saga_core::{Rollout, Share};
///
/// let careful = Rollout::new("place-order", &[1, 2, 3], &[(3, Share::percent(10))])?;
/// let bolder = Rollout::new("place-order", &[1, 2, 3], &[(3, Share::percent(50))])?;
/// // Nine in ten go to the newest version below; a key that has moved up stays up.
/// assert_eq!((careful.version_of("order-2"), bolder.version_of("order-2")), (2, 2));
/// assert_eq!((careful.version_of("order-4"), bolder.version_of("order-4")), (2, 3));
/// assert_eq!((careful.version_of("order-22"), bolder.version_of("order-22")), (3, 3));
/// # Ok::<(), saga_core::RolloutFaults>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    name: String,
    /// Newest first: the version, and the point below which keys start on it or a newer one.
    shares: Vec<(u32, u32)>,
    /// Takes what no share covers.
    rest: u32,
}

impl Rollout {
    /// Shares out the new starts of definition `name`, of which the versions `known` exist. What
    /// the shares leave over goes to the newest version below all of those that have one.
    ///
    /// # Errors
    /// [`RolloutFaults`] naming every fault at once.
    pub fn new(
        name: impl Into<String>,
        known: &[u32],
        shares: &[(u32, Share)],
    ) -> Result<Self, RolloutFaults> {
        let name = name.into();
        let mut shares = shares.to_vec();
        shares.sort_by_key(|(version, share)| (std::cmp::Reverse(*version), *share));
        let faults = faults(&name, known, &shares);
        if !faults.is_empty() {
            return Err(RolloutFaults(faults));
        }
        let mut point = 0;
        let upto = shares.iter().map(|(version, share)| {
            point += share.0;
            (*version, point)
        });
        let upto: Vec<_> = upto.collect();
        let oldest = shares.last().map_or(u32::MAX, |(version, _)| *version);
        // With shares that make up the whole there may be no older version, and no rest either.
        let rest = below(known, oldest).unwrap_or(oldest);
        Ok(Self { name, shares: upto, rest })
    }

    /// The version on which a start under this key begins.
    pub fn version_of(&self, key: &str) -> u32 {
        let point = point(&self.name, key);
        let share = self.shares.iter().find(|(_, upto)| point < *upto);
        share.map_or(self.rest, |(version, _)| *version)
    }
}

/// Where a key stands among [`WHOLE`] points, evenly spread and the same for ever. The version is
/// left out on purpose: with it, a larger share of one version could take keys from a newer one.
fn point(name: &str, key: &str) -> u32 {
    let digest = Digest::of(&[b"rollout", name.as_bytes(), key.as_bytes()]);
    let head = u128::from_be_bytes(*digest.as_bytes()) >> 64;
    ((head * u128::from(WHOLE)) >> 64) as u32
}

fn below(known: &[u32], version: u32) -> Option<u32> {
    known.iter().copied().filter(|known| *known < version).max()
}

/// Everything that is wrong with shares that are sorted, newest version first.
fn faults(name: &str, known: &[u32], shares: &[(u32, Share)]) -> Vec<RolloutFault> {
    let name = || name.to_owned();
    if known.is_empty() {
        return vec![RolloutFault::UnknownDefinition { name: name() }];
    }
    let mut faults = Vec::new();
    for (version, share) in shares {
        let (version, share) = (*version, *share);
        if !known.contains(&version) {
            let known = known.to_vec();
            faults.push(RolloutFault::UnknownVersion { name: name(), version, known });
        }
        if share.0 > WHOLE {
            faults.push(RolloutFault::Range { name: name(), version, share });
        }
    }
    for pair in shares.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let [(version, first), (_, second)] = [pair[0], pair[1]];
        faults.push(RolloutFault::Twice { name: name(), version, first, second });
    }
    let total = Share(shares.iter().fold(0, |sum, (_, share)| share.0.saturating_add(sum)));
    // What would only follow from another mistake is no mistake of its own.
    let Some((oldest, _)) = shares.last().filter(|_| faults.is_empty()) else { return faults };
    if total.0 > WHOLE {
        faults.push(RolloutFault::TooMuch { name: name(), total });
    }
    if total.0 < WHOLE && below(known, *oldest).is_none() {
        faults.push(RolloutFault::NoRest { name: name(), total, oldest: *oldest });
    }
    let shared = |version: &u32| shares.iter().any(|(shared, _)| shared == version);
    for version in known.iter().filter(|known| *known > oldest && !shared(known)) {
        faults.push(RolloutFault::WithoutShare { name: name(), version: *version });
    }
    faults
}

/// What is wrong with the shares of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rollout has {} fault(s):{}", _0.len(), bullets(_0))]
pub struct RolloutFaults(pub Vec<RolloutFault>);

fn bullets(faults: &[RolloutFault]) -> String {
    faults.iter().map(|fault| format!("\n  - {fault}")).collect()
}

/// One thing wrong with the shares of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the message of each variant says what it is and its fields name the culprits"
)]
pub enum RolloutFault {
    #[error(
        "{name}: no definition of this name is registered here or on record in the store: register it, or correct the name"
    )]
    UnknownDefinition { name: String },
    #[error("{name} v{version} is not known: expected one of {}", versions(known))]
    UnknownVersion { name: String, version: u32, known: Vec<u32> },
    #[error("{name} v{version} has a share of {share}: expected 0 % to 100 %")]
    Range { name: String, version: u32, share: Share },
    #[error("{name} v{version} has two shares, {first} and {second}: give it one")]
    Twice { name: String, version: u32, first: Share, second: Share },
    #[error("the shares of {name} add up to {total}: expected 100 % at most")]
    TooMuch { name: String, total: Share },
    #[error(
        "the shares of {name} add up to {total}, and no version older than v{oldest} is known that could take the rest: register one, or give v{oldest} the rest"
    )]
    NoRest { name: String, total: Share, oldest: u32 },
    #[error(
        "{name} v{version} has no share, but there is an older version that has one: give it a share as well, 0 % to start nothing on it"
    )]
    WithoutShare { name: String, version: u32 },
}

/// Versions in words, such as `v1, v2`.
pub(crate) fn versions(known: &[u32]) -> String {
    let known: Vec<_> = known.iter().map(|version| format!("v{version}")).collect();
    known.join(", ")
}
