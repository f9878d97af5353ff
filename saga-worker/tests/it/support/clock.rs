//! A clock that follows tokio's, so that a paused runtime makes leases and delays run in virtual time.

use std::time::Duration;

use saga_core::{Clock, Timestamp};
use tokio::time::Instant;

/// The moment at which every test begins.
const BASE: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

#[derive(Debug)]
pub(crate) struct VirtualClock(Instant);

impl VirtualClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Virtual time since the test began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        BASE.after(self.elapsed())
    }
}
