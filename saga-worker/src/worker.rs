//! A worker: claims due sagas, drives them side by side, drains on shutdown.

mod builder;
mod claiming;
mod register;
mod retention;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use saga_core::store::{Store, StoreError, WorkerCard};
use saga_core::{SagaId, WorkerId};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub use builder::{BuildError, WorkerBuilder};
pub use register::RegisterError;

use crate::breakers::BreakerView;
use crate::client::Client;
use crate::faults;
use crate::lease::Tenure;
use crate::retry_schedule::RetrySchedule;
use crate::runtime::{Runtime, UnderWay};

/// How long after its grace a call that was called off must be gone: what is not has blocked its
/// thread, where nothing can reach it.
const BLOCKED_AFTER: Duration = Duration::from_secs(2);

/// A running worker, and the [`Client`] of its process.
///
/// Dropping it stops it as a crash would: its sagas go on elsewhere once its
/// lease has run out. [`Worker::shutdown`] hands them back at once.
#[derive(Debug)]
pub struct Worker {
    client: Client,
    runtime: Arc<Runtime>,
    supervisor: Option<JoinHandle<()>>,
}

/// What a drain came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Sagas that were being driven when the drain began.
    pub sagas: usize,
    /// Whether calls in flight had to be given up at the end of the drain timeout.
    pub gave_up: bool,
}

impl Worker {
    /// Starts building a worker on a store.
    pub fn builder(store: Arc<dyn Store>) -> WorkerBuilder {
        WorkerBuilder::new(store)
    }

    /// The client of this worker: cheap to clone and to hand to request handlers.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The breakers of this worker, one per participant and direction.
    pub fn breakers(&self) -> Vec<BreakerView> {
        self.runtime.breakers.views()
    }

    /// Drains and stops: claims nothing more, hands out no further call, waits for those in
    /// flight up to the drain timeout, then gives them up, and hands every saga back. Without a
    /// store it ends within another lease, and the sagas are taken over when that has run out.
    pub async fn shutdown(mut self) -> DrainReport {
        let runtime = self.runtime.clone();
        runtime.draining.cancel();
        faults::draining();
        let sagas = runtime.executors.len();
        let gave_up =
            timeout(runtime.options.drain_timeout, runtime.executors.wait()).await.is_err();
        runtime.drained.cancel();
        if let Some(supervisor) = self.supervisor.take()
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "the worker's supervisor died");
        }
        DrainReport { sagas, gave_up }
    }
}

impl Deref for Worker {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.abort();
            self.runtime.draining.cancel();
            if let Some(tenure) = self.runtime.present_tenure() {
                tenure.lost.cancel();
            }
        }
    }
}

/// Holds one lease after another until the worker is shut down.
async fn supervise(runtime: Arc<Runtime>, mut tenure: Arc<Tenure>) {
    loop {
        tokio::select! {
            biased;
            () = tenure.keep(runtime.store.as_ref(), &runtime.telemetry) => {}
            () = claiming::claim_forever(&runtime, &tenure) => {}
            never = retention::forget_forever(&runtime) => match never {},
        }
        if runtime.draining.is_cancelled() {
            return hand_back(&runtime, &tenure).await;
        }
        runtime.set_tenure(None);
        await_calls_of_the_lost_lease(&runtime).await;
        match enlist_again(&runtime).await {
            Some(next) => tenure = next,
            // Drained with a lease that was given up: what it holds need not wait for its end.
            None if runtime.calls_under_way().is_empty() => return retire(&runtime, &tenure).await,
            None => return,
        }
    }
}

/// No saga may have a call of the old lease under way when it is driven under the new one. They
/// all end within their grace, except one that blocks its thread: its saga is barred from this
/// process for as long as that lasts, and all others go on.
async fn await_calls_of_the_lost_lease(runtime: &Runtime) {
    let patience = runtime.options.cancel_grace + BLOCKED_AFTER;
    if timeout(patience, runtime.executors.wait()).await.is_err() {
        warn_of_blocked(&runtime.bar_the_driven());
    }
}

/// A call that does not end when it is told to, nor lets itself be dropped, never yields.
fn warn_of_blocked(sagas: &[(SagaId, Vec<UnderWay>)]) {
    for (saga_id, calls) in sagas {
        for (call, step) in calls {
            tracing::error!(
                %saga_id, step, op = %call.op,
                "a call was called off but goes on: it blocks its thread instead of awaiting (spawn_blocking helps); this process leaves its saga to others until it ends"
            );
        }
    }
}

/// Keeps the lease until the last executor has let go, then gives everything back. A call that
/// blocks its thread is not waited for: its saga goes on elsewhere once the lease has run out.
async fn hand_back(runtime: &Runtime, tenure: &Tenure) {
    let blocked = async {
        runtime.drained.cancelled().await;
        loop {
            sleep(runtime.options.cancel_grace + BLOCKED_AFTER).await;
            let under_way = runtime.calls_under_way();
            if !under_way.is_empty() {
                return under_way;
            }
        }
    };
    tokio::select! {
        biased;
        () = runtime.executors.wait() => {}
        () = tenure.keep(runtime.store.as_ref(), &runtime.telemetry) => {
            await_calls_of_the_lost_lease(runtime).await;
            if !runtime.calls_under_way().is_empty() {
                return;
            }
        }
        blocked = blocked => {
            warn_of_blocked(&blocked);
            return tenure.lost.cancel();
        }
    }
    retire(runtime, tenure).await;
}

async fn retire(runtime: &Runtime, tenure: &Tenure) {
    if let Err(error) = runtime.store.retire(tenure.worker).await {
        tracing::warn!(worker = %tenure.worker, %error, "cannot hand the lease back; it will run out");
    }
    tenure.lost.cancel();
}

async fn enlist_again(runtime: &Arc<Runtime>) -> Option<Arc<Tenure>> {
    // Its own seed, so that the workers of a fleet do not all come back at the same moments.
    let mut schedule = RetrySchedule::for_store(runtime.entropy.bits() as u64);
    let again = async {
        loop {
            match enlist(runtime).await {
                Ok(tenure) => return tenure,
                Err(error) => tracing::warn!(%error, "cannot enlist, trying again"),
            }
            sleep(schedule.next_delay()).await;
        }
    };
    tokio::select! {
        biased;
        () = runtime.draining.cancelled() => None,
        tenure = again => Some(tenure),
    }
}

/// What a worker says of itself.
fn card(runtime: &Runtime, id: WorkerId) -> WorkerCard {
    let definitions = runtime.registry.references();
    WorkerCard { id, name: runtime.options.name.clone(), definitions }
}

async fn enlist(runtime: &Arc<Runtime>) -> Result<Arc<Tenure>, StoreError> {
    let id = runtime.entropy.worker_id();
    let card = card(runtime, id);
    let asked = Instant::now();
    runtime.store.enlist(&card, runtime.options.lease_ttl).await?;
    let tenure = Arc::new(Tenure::new(id, runtime.options.lease_ttl, asked));
    runtime.set_tenure(Some(tenure.clone()));
    tracing::info!(worker = %id, name = runtime.options.name, "worker enlisted");
    Ok(tenure)
}
