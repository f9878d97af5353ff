//! When the sagas this worker let go of will be due, so that it looks again in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use saga_core::Timestamp;
use tokio::sync::Notify;

/// Most moments remembered; later ones are found by polling.
const MOMENTS_MAX: usize = 10_000;

/// A reminder, no more: the store knows what is due, and polling is the floor.
#[derive(Debug, Default)]
pub(crate) struct Due {
    moments: Mutex<BinaryHeap<Reverse<Timestamp>>>,
    /// Rings when a moment before all others has come in.
    sooner: Notify,
}

impl Due {
    pub(crate) fn remind(&self, at: Timestamp) {
        let mut moments = self.moments();
        if moments.len() < MOMENTS_MAX {
            let sooner = moments.peek().is_none_or(|Reverse(first)| at < *first);
            moments.push(Reverse(at));
            if sooner {
                self.sooner.notify_one();
            }
        }
    }

    /// Forgets what has passed: call it before looking, so that what comes in during the look
    /// leads to another one.
    pub(crate) fn forget_until(&self, now: Timestamp) {
        let mut moments = self.moments();
        while moments.peek().is_some_and(|Reverse(at)| *at <= now) {
            moments.pop();
        }
    }

    /// The first moment that has not been forgotten.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.moments().peek().map(|Reverse(at)| *at)
    }

    /// Resolves when a moment before all others has come in.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }

    /// The lock is held for one heap operation or a few, never across an await.
    fn moments(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Timestamp>>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
