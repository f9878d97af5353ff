//! A worker's right to drive sagas: kept by a heartbeat, given up in time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use saga_core::WorkerId;
use saga_core::store::Store;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// Renewals that are waited for at a time.
const RENEWALS_MAX: usize = 4;

/// One lease of one worker: from enlisting until it is lost or handed back.
#[derive(Debug)]
pub(crate) struct Tenure {
    pub(crate) worker: WorkerId,
    /// Fires when the lease is lost, or can no longer be proven.
    pub(crate) lost: CancellationToken,
    ttl: Duration,
    /// Until when, on the monotonic clock, the lease is certainly ours.
    proven_until: Mutex<Instant>,
}

impl Tenure {
    /// A tenure whose lease was asked for at `asked`.
    pub(crate) fn new(worker: WorkerId, ttl: Duration, asked: Instant) -> Self {
        let tenure =
            Self { worker, lost: CancellationToken::new(), ttl, proven_until: Mutex::new(asked) };
        tenure.prove(asked);
        tenure
    }

    /// Whether a call may still be made: the lease holds for a while longer.
    ///
    /// Asked right before each call, because a process that was frozen past its
    /// lease comes back here before any timer has had the time to fire.
    pub(crate) fn holds(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < self.deadline()
    }

    /// Until when the lease is certainly ours, if it still is: longer than [`Tenure::holds`] by the
    /// margin that calls need to come to an end.
    pub(crate) fn certain_until(&self) -> Option<Instant> {
        let until = *self.proven_until.lock().unwrap_or_else(PoisonError::into_inner);
        (Instant::now() < until).then_some(until)
    }

    /// The moment at which the worker gives up by itself: a fifth of the lease before its end.
    fn deadline(&self) -> Instant {
        *self.proven_until.lock().unwrap_or_else(PoisonError::into_inner) - self.ttl / 5
    }

    /// The store prolonged the lease some time after `asked`, so it holds at least from then on. An
    /// answer that comes after that of a later renewal takes nothing back.
    fn prove(&self, asked: Instant) {
        let mut until = self.proven_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(asked + self.ttl);
    }

    /// The store says that the lease is over.
    fn disprove(&self) {
        *self.proven_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Keeps the lease until it is lost; then fires [`Tenure::lost`] and returns.
    ///
    /// A renewal that is not answered in time costs no lease by itself: another one is sent after it,
    /// which may find a connection that lives.
    pub(crate) async fn keep(&self, store: &dyn Store, telemetry: &Telemetry) {
        let renew = |asked| async move { (asked, store.renew(self.worker, self.ttl).await) };
        let mut renewals = FuturesUnordered::new();
        let mut next_at = Instant::now() + self.ttl / 3;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.deadline()) => break,
                Some((asked, renewed)) = renewals.next() => match renewed {
                    Ok(true) => {
                        self.prove(asked);
                        next_at = next_at.max(asked + self.ttl / 3);
                    }
                    Ok(false) => {
                        self.disprove();
                        break;
                    }
                    Err(error) => {
                        telemetry.lease_failed("renew");
                        tracing::warn!(worker = %self.worker, %error, "cannot renew the lease, trying again");
                        next_at = next_at.min(Instant::now() + self.ttl / 10);
                    }
                },
                () = sleep_until(next_at) => {
                    // A renewal runs on if it is not waited for; the oldest is the least of use.
                    if renewals.len() == RENEWALS_MAX {
                        renewals.clear();
                    }
                    let asked = Instant::now();
                    renewals.push(renew(asked));
                    next_at = asked + self.ttl / 6;
                }
            }
        }
        telemetry.lease_failed("lost");
        tracing::error!(worker = %self.worker, "lease lost: calls are given up, sagas left to others");
        self.lost.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use saga_core::MemoryStore;

    use super::*;
    use crate::SystemClock;
    use crate::telemetry::TraceRatio;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_certain_any_more_once_the_store_knows_of_no_lease() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let (worker, ttl) = (WorkerId::from_bytes([7; 16]), Duration::from_secs(30));
        let tenure = Tenure::new(worker, ttl, Instant::now());
        assert!(tenure.certain_until().is_some() && tenure.holds());
        // Its first renewal is due after a third of the lease.
        tenure.keep(&store, &Telemetry::new("a test", TraceRatio::default())).await;
        assert!(tenure.certain_until().is_none() && !tenure.holds());
    }
}
