//! A worker's right to drive sagas: kept by a heartbeat, given up in time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use saga_core::WorkerId;
use saga_core::store::Store;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

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

    /// The store prolonged the lease some time after `asked`, so it holds at least from then on.
    fn prove(&self, asked: Instant) {
        *self.proven_until.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.ttl;
    }

    /// Keeps the lease until it is lost; then fires [`Tenure::lost`] and returns.
    pub(crate) async fn keep(&self, store: &dyn Store, telemetry: &Telemetry) {
        let mut pause = self.ttl / 3;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(self.deadline()) => break,
                () = sleep(pause) => {}
            }
            let asked = Instant::now();
            // The renewal itself runs on if it is not waited for; its outcome no longer matters then.
            let renewed = tokio::select! {
                biased;
                () = sleep_until(self.deadline()) => break,
                renewed = store.renew(self.worker, self.ttl) => renewed,
            };
            match renewed {
                Ok(true) => {
                    self.prove(asked);
                    pause = self.ttl / 3;
                }
                Ok(false) => break,
                Err(error) => {
                    telemetry.lease_failed("renew");
                    tracing::warn!(worker = %self.worker, %error, "cannot renew the lease, trying again");
                    pause = self.ttl / 10;
                }
            }
        }
        telemetry.lease_failed("lost");
        tracing::error!(worker = %self.worker, "lease lost: calls are given up, sagas left to others");
        self.lost.cancel();
    }
}
