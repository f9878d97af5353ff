//! What all tasks of one worker share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::store::Store;
use saga_core::{Clock, PAYLOAD_BYTES_MAX, SagaId, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breakers::Breakers;
use crate::due::Due;
use crate::entropy::Entropy;
use crate::lease::Tenure;
use crate::punctual::Punctual;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use crate::watchers::Watchers;

/// The figures a worker runs by.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) concurrency_max: usize,
    pub(crate) lease_ttl: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) losses_max: u32,
    pub(crate) payload_bytes_max: usize,
    /// How long what has ended is kept; for ever if not set.
    pub(crate) retention: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: format!("process-{}", std::process::id()),
            concurrency_max: 512,
            lease_ttl: Duration::from_secs(10),
            poll_interval: Duration::from_millis(1_000),
            drain_timeout: Duration::from_secs(30),
            cancel_grace: Duration::from_millis(100),
            losses_max: 5,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            retention: None,
        }
    }
}

/// Shared by the worker's loops, its executors and its in-process clients.
pub(crate) struct Runtime {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Registry,
    pub(crate) options: Options,
    pub(crate) entropy: Arc<Entropy>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) telemetry: Telemetry,
    pub(crate) due: Due,
    /// One permit per driven saga.
    pub(crate) permits: Arc<Semaphore>,
    /// Sagas being driven, with the bell that makes their executor look into the inbox.
    driven: Mutex<HashMap<SagaId, Arc<Notify>>>,
    /// The present lease, if there is one.
    tenure: Mutex<Option<Arc<Tenure>>>,
    /// An outcome is unknown: the store may hold sagas in our name that nobody drives.
    strays: AtomicBool,
    /// Executors at work, and starts on their way to one. Closed from the beginning, so that
    /// waiting for it means waiting until nothing is at work.
    pub(crate) executors: TaskTracker,
    /// Fires when no further call is to be handed out.
    pub(crate) draining: CancellationToken,
    /// Fires when calls in flight are to be given up.
    pub(crate) drained: CancellationToken,
}

impl Runtime {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<Entropy>,
        registry: Registry,
        options: Options,
    ) -> Self {
        let executors = TaskTracker::new();
        executors.close();
        Self {
            // Half a lease, so that a hanging store is given up before the lease is.
            store: Arc::new(Punctual::new(store, options.lease_ttl / 2)),
            breakers: Arc::new(Breakers::new(clock.clone())),
            clock,
            registry,
            entropy,
            watchers: Arc::default(),
            telemetry: Telemetry::default(),
            due: Due::default(),
            permits: Arc::new(Semaphore::new(options.concurrency_max)),
            driven: Mutex::default(),
            tenure: Mutex::default(),
            strays: AtomicBool::new(false),
            executors,
            draining: CancellationToken::new(),
            drained: CancellationToken::new(),
            options,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The lease under which new sagas may be taken on.
    pub(crate) fn tenure(&self) -> Option<Arc<Tenure>> {
        self.present_tenure().filter(|tenure| tenure.holds() && !self.draining.is_cancelled())
    }

    /// The present lease, whatever its state.
    pub(crate) fn present_tenure(&self) -> Option<Arc<Tenure>> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_tenure(&self, tenure: Option<Arc<Tenure>>) {
        *self.tenure.lock().unwrap_or_else(PoisonError::into_inner) = tenure;
    }

    /// Registers a saga as driven here, until the registration is dropped.
    pub(crate) fn drive(self: &Arc<Self>, id: SagaId) -> Driven {
        let bell = Arc::new(Notify::new());
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).insert(id, bell.clone());
        Driven { runtime: self.clone(), id, bell }
    }

    pub(crate) fn is_driven(&self, id: SagaId) -> bool {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }

    /// Whether no saga is driven here.
    pub(crate) fn drives_nothing(&self) -> bool {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Asks the claiming loop to compare what the store holds in our name with what is driven.
    pub(crate) fn look_for_strays(&self) {
        self.strays.store(true, Ordering::SeqCst);
    }

    /// Whether there is such a request; clears it.
    pub(crate) fn strays_wanted(&self) -> bool {
        self.strays.swap(false, Ordering::SeqCst)
    }

    /// Makes the executor of a saga look into the inbox, if it is driven here.
    pub(crate) fn ring(&self, id: SagaId) {
        if let Some(bell) = self.driven.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            bell.notify_one();
        }
    }
}

/// A saga on the list of those driven here. It is put there before anything else happens to the
/// saga and taken off whatever happens, or the search for strays would find one twice or never.
pub(crate) struct Driven {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) id: SagaId,
    /// Rings when there may be a command in the inbox.
    pub(crate) bell: Arc<Notify>,
}

impl Drop for Driven {
    /// Takes the saga off the list, unless a newer registration has replaced this one.
    fn drop(&mut self) {
        let mut driven = self.runtime.driven.lock().unwrap_or_else(PoisonError::into_inner);
        if driven.get(&self.id).is_some_and(|current| Arc::ptr_eq(current, &self.bell)) {
            driven.remove(&self.id);
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("options", &self.options).finish_non_exhaustive()
    }
}
