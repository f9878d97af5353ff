//! When a stream has to show that it is alive, and when to look whether its key is still good.

use std::time::Duration;

use tokio::time::Instant;

use crate::access::Held;
use crate::service::App;

/// How often the key of a stream is looked at again.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The times of one stream.
#[derive(Debug)]
pub(crate) struct Pulse {
    heartbeat: Duration,
    check_every: Duration,
    heartbeat_at: Instant,
    check_at: Instant,
    held: Held,
}

impl Pulse {
    pub(crate) fn new(app: &App, held: Held) -> Self {
        let now = Instant::now();
        let heartbeat = app.limits().heartbeat;
        // Where heartbeats are more frequent, as in tests, so are the looks.
        let check_every = CHECK_EVERY.min(heartbeat * 2);
        Self {
            heartbeat,
            check_every,
            heartbeat_at: now + heartbeat,
            check_at: now + check_every,
            held,
        }
    }

    /// When to look again, whatever comes before.
    pub(crate) fn until(&self) -> Instant {
        self.heartbeat_at.min(self.check_at)
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self) {
        self.heartbeat_at = Instant::now() + self.heartbeat;
    }

    /// Whether it is time to show that the stream is alive.
    pub(crate) fn is_silent(&self) -> bool {
        Instant::now() >= self.heartbeat_at
    }

    /// Whether the key was revoked, as far as it was time to look.
    pub(crate) fn is_revoked(&mut self, app: &App) -> bool {
        let now = Instant::now();
        if now < self.check_at {
            return false;
        }
        self.check_at = now + self.check_every;
        !app.still_valid(&self.held)
    }

    /// Resolves when the key was revoked.
    pub(crate) async fn revoked(mut self, app: App) {
        while !self.is_revoked(&app) {
            tokio::time::sleep_until(self.check_at).await;
        }
    }
}
