//! How many refusals are recorded: whoever holds a key may be refused as often as they like, and must
//! not fill the trail with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of one key that are recorded within [`WINDOW`].
const RECORDED_MAX: u32 = 60;
/// How long they are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// The refusals of the present window.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Window>);

#[derive(Debug)]
struct Window {
    since: Instant,
    /// By the id of the key; there are as many as there are keys.
    counts: HashMap<String, u32>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Window { since: Instant::now(), counts: HashMap::new() }))
    }
}

impl Refusals {
    /// Whether one more refusal of this key is to be recorded.
    pub(super) fn has_room(&self, key: Option<&str>) -> bool {
        self.has_room_at(key.unwrap_or_default(), Instant::now())
    }

    /// The lock is held for a look, never across an await.
    fn has_room_at(&self, key: &str, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(window.since) >= WINDOW {
            window.since = now;
            window.counts.clear();
        }
        let count = window.counts.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        if *count == RECORDED_MAX + 1 {
            tracing::warn!(
                key,
                "refused for its role {RECORDED_MAX} times within a minute: the rest of it is not in the audit trail"
            );
        }
        *count <= RECORDED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fills_its_minute_and_neither_the_next_nor_that_of_another_key() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let room = |key, at| (0..100).filter(|_| refusals.has_room_at(key, at)).count();
        assert_eq!((room("a", now), room("a", now), room("b", now)), (60, 0, 60));
        assert_eq!(room("a", now + WINDOW * 2), 60);
    }
}
