//! Delays between tries inside this process: for store outages, not for steps.
//!
//! Delays of steps are durable and come from [`RetryPolicy`] alone. Waiting for
//! a database to come back needs no durability, only patience with a bound.

use std::time::Duration;

use saga_core::RetryPolicy;

/// An endless sequence of growing, jittered delays up to a cap.
#[derive(Clone, Debug)]
pub struct RetrySchedule {
    policy: RetryPolicy,
    attempt: u32,
    seed: u64,
}

impl RetrySchedule {
    /// The delays of a policy, whatever its number of attempts; `seed` decides the jitter.
    pub fn new(policy: RetryPolicy, seed: u64) -> Self {
        Self { policy, attempt: 0, seed }
    }

    /// Delays fit for a store that went away: from 20 ms up to 2 s.
    pub(crate) fn for_store(seed: u64) -> Self {
        let policy = RetryPolicy::new(u32::MAX, Duration::from_millis(20));
        Self::new(policy.capped(Duration::from_secs(2)), seed)
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        self.policy.delay(self.attempt, self.seed)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// Lets `backoff::future::retry` and the like run on a schedule of ours.
#[cfg(feature = "backoff")]
impl backoff::backoff::Backoff for RetrySchedule {
    fn next_backoff(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}

/// Carries an existing `backoff` policy over to a durable one.
///
/// `attempts_max` is given because `backoff` bounds the time, not the attempts;
/// its randomisation is replaced by full jitter, which spreads better.
///
/// ```
/// use backoff::ExponentialBackoff;
///
/// let policy = saga_worker::policy_from_backoff(&ExponentialBackoff::default(), 5);
/// assert_eq!(policy.delay_ms, 500);
/// assert_eq!(policy.attempts_max, 5);
/// ```
#[cfg(feature = "backoff")]
pub fn policy_from_backoff(
    backoff: &backoff::ExponentialBackoff,
    attempts_max: u32,
) -> RetryPolicy {
    let mut policy =
        RetryPolicy::new(attempts_max, backoff.initial_interval).capped(backoff.max_interval);
    // A factor such as 1.5 becomes 150 percent; one under 1 would shrink delays and is taken as 1.
    policy.multiplier_percent = (backoff.multiplier * 100.0).clamp(100.0, 10_000.0) as u32;
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_grows_to_its_cap_and_starts_over_after_a_success() {
        let mut schedule = RetrySchedule::for_store(7);
        let first = schedule.next_delay();
        assert!(first <= Duration::from_millis(20));
        (0..1_000).for_each(|_| assert!(schedule.next_delay() <= Duration::from_secs(2)));
        schedule.reset();
        assert_eq!(schedule.next_delay(), first);
    }
}
