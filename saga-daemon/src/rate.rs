//! How fast one API key may make requests, so that no client, broken or hostile, takes the daemon from
//! the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a key may save up what it does not use: so many seconds' worth of requests may come at once.
const SAVED_UP: Duration = Duration::from_secs(2);

/// A bucket of tokens for each key, kept as the time at which it is full again. There are as many as
/// there are keys.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Instant>>);

impl Rates {
    /// Takes a token for one request, of which there are so many for each second.
    ///
    /// # Errors
    /// How long it takes until there is one again.
    pub(crate) fn take(&self, key: &str, per_second: u32, now: Instant) -> Result<(), Duration> {
        let Some(costs) = Duration::from_secs(1).checked_div(per_second) else { return Ok(()) };
        // Held for a look, never across an await.
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = full_at.entry(key.to_owned()).or_insert(now);
        let taken = (*full_at).max(now) + costs;
        match taken.duration_since(now).saturating_sub(SAVED_UP) {
            Duration::ZERO => {
                *full_at = taken;
                Ok(())
            }
            missing => Err(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_rate_and_what_it_saved_up_and_takes_nothing_from_another() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken = |key, at| (0..1_000).filter(|_| rates.take(key, 50, at).is_ok()).count();
        assert_eq!((taken("a", now), taken("a", now), taken("b", now)), (100, 0, 100));
        assert_eq!(rates.take("a", 50, now), Err(Duration::from_millis(20)));
        assert_eq!(taken("a", now + Duration::from_secs(1)), 50);
        assert_eq!(taken("a", now + Duration::from_secs(3_600)), 100, "no more is saved up");
    }

    #[test]
    fn without_a_rate_there_is_no_bound() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert!((0..10_000).all(|_| rates.take("a", 0, now).is_ok()));
    }
}
