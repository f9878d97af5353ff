//! How often to try again, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Capped exponential backoff with full jitter.
///
/// A pure function of the attempt and a seed, so that a delay can be derived
/// anew after a crash and a simulation is repeatable. Full jitter (a uniform
/// choice between nothing and the exponential bound) spreads a herd best.
///
/// ```
/// use std::time::Duration;
/// use saga_core::RetryPolicy;
///
/// let policy = RetryPolicy::new(3, Duration::from_secs(2));
/// assert!(policy.delay(1, 42) <= Duration::from_secs(2));
/// assert!(policy.delay(2, 42) <= Duration::from_secs(4));
/// assert_eq!(policy.delay(2, 42), policy.delay(2, 42));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included. At least 1.
    pub attempts_max: u32,
    /// Bound of the first delay, in milliseconds.
    pub delay_ms: u64,
    /// Bound of every delay, in milliseconds.
    pub delay_ms_max: u64,
    /// What each bound is multiplied by to give the next, in percent: 200 doubles.
    pub multiplier_percent: u32,
}

impl RetryPolicy {
    /// Default of a compensatable action: 3 attempts, 2 s base delay (the source design's figures).
    pub const ACTION: Self =
        Self { attempts_max: 3, delay_ms: 2_000, delay_ms_max: 60_000, multiplier_percent: 200 };

    /// Default of everything that has to succeed in the end (pivots, retriable
    /// steps, compensations): 20 attempts, 1 s base delay, then a person is asked.
    pub const PERSISTENT: Self =
        Self { attempts_max: 20, delay_ms: 1_000, delay_ms_max: 60_000, multiplier_percent: 200 };

    /// A policy that doubles its delay up to 60 s.
    pub fn new(attempts_max: u32, delay: Duration) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self { attempts_max, delay_ms, ..Self::ACTION }
    }

    /// The same policy with another bound for every delay.
    #[must_use]
    pub fn capped(mut self, delay_max: Duration) -> Self {
        self.delay_ms_max = u64::try_from(delay_max.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Whether `spent` attempts leave another one.
    pub fn allows_another(&self, spent: u32) -> bool {
        spent < self.attempts_max
    }

    /// The delay after failed attempt number `attempt` (counted from 1).
    pub fn delay(&self, attempt: u32, seed: u64) -> Duration {
        let bound = self.bound_ms(attempt).saturating_mul(1_000);
        let random = mix(seed ^ (u64::from(attempt) << 32));
        let micros = (u128::from(bound) * u128::from(random)) >> 64;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The exponential bound of the delay after `attempt`, in milliseconds.
    fn bound_ms(&self, attempt: u32) -> u64 {
        let mut bound = self.delay_ms.min(self.delay_ms_max);
        for _ in 1..attempt {
            let next = u128::from(bound) * u128::from(self.multiplier_percent) / 100;
            bound = u64::try_from(next).unwrap_or(u64::MAX).min(self.delay_ms_max);
            if bound == self.delay_ms_max {
                break;
            }
        }
        bound
    }

    /// What is wrong with the figures, if anything.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.attempts_max == 0 {
            return Some("attempts_max is 0: expected at least 1");
        }
        if self.multiplier_percent < 100 {
            return Some(
                "multiplier_percent is under 100, so delays would shrink: expected at least 100",
            );
        }
        None
    }
}

/// A well-mixed 64-bit number from a seed (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_under_the_doubling_bound_and_the_cap() {
        let policy = RetryPolicy::new(10, Duration::from_secs(2)).capped(Duration::from_secs(9));
        for (attempt, bound) in [(1, 2_000), (2, 4_000), (3, 8_000), (4, 9_000), (u32::MAX, 9_000)]
        {
            assert_eq!(policy.bound_ms(attempt), bound);
            for seed in 0..500 {
                assert!(policy.delay(attempt, seed) <= Duration::from_millis(bound));
            }
        }
    }

    #[test]
    fn jitter_uses_the_whole_range() {
        let policy = RetryPolicy::new(3, Duration::from_secs(1));
        let delays: Vec<_> = (0..1_000).map(|seed| policy.delay(1, seed).as_millis()).collect();
        assert!(delays.iter().any(|d| *d < 50) && delays.iter().any(|d| *d > 950));
        let mean = delays.iter().sum::<u128>() / 1_000;
        assert!((400..600).contains(&mean), "mean of full jitter is half the bound, got {mean} ms");
    }

    #[test]
    fn the_default_of_an_action_is_three_attempts_from_two_seconds() {
        assert!(RetryPolicy::ACTION.allows_another(2));
        assert!(!RetryPolicy::ACTION.allows_another(3));
        assert_eq!(RetryPolicy::ACTION.bound_ms(1), 2_000);
    }
}
