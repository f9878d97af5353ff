//! When the sagas this worker let go of will be due, so that it looks again in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use saga_core::Timestamp;

/// Most moments remembered; later ones are found by polling.
const MOMENTS_MAX: usize = 10_000;

/// A reminder, no more: the store knows what is due, and polling is the floor.
#[derive(Debug, Default)]
pub(crate) struct Due(Mutex<BinaryHeap<Reverse<Timestamp>>>);

impl Due {
    pub(crate) fn remind(&self, at: Timestamp) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.len() < MOMENTS_MAX {
            moments.push(Reverse(at));
        }
    }

    /// Forgets what has passed and returns what comes next.
    pub(crate) fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while moments.peek().is_some_and(|Reverse(at)| *at <= now) {
            moments.pop();
        }
        moments.peek().map(|Reverse(at)| *at)
    }
}
