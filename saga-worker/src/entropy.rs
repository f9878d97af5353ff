//! Where ids and jitter come from.

use std::sync::atomic::{AtomicU64, Ordering};

use saga_core::{Digest, WorkerId};

/// The system's randomness, or numbers that follow from a seed so that a simulation is repeatable.
#[derive(Debug)]
pub(crate) enum Entropy {
    System,
    Seeded { seed: u64, drawn: AtomicU64 },
}

impl Entropy {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::Seeded { seed, drawn: AtomicU64::new(0) }
    }

    /// The next 128 bits.
    pub(crate) fn bits(&self) -> u128 {
        match self {
            Self::System => uuid::Uuid::new_v4().as_u128(),
            Self::Seeded { seed, drawn } => {
                let number = drawn.fetch_add(1, Ordering::Relaxed);
                let digest = Digest::of(&[&seed.to_be_bytes(), &number.to_be_bytes()]);
                u128::from_be_bytes(*digest.as_bytes())
            }
        }
    }

    pub(crate) fn worker_id(&self) -> WorkerId {
        WorkerId::from_bytes(
            uuid::Builder::from_random_bytes(self.bits().to_be_bytes()).into_uuid().into_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_no_id_twice() {
        let (one, other) = (Entropy::seeded(7), Entropy::seeded(7));
        let first: Vec<_> = (0..100).map(|_| one.worker_id()).collect();
        let second: Vec<_> = (0..100).map(|_| other.worker_id()).collect();
        assert_eq!(first, second);
        assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 100);
        assert_ne!(Entropy::seeded(8).worker_id(), first[0]);
    }
}
