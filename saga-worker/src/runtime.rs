//! What all tasks of one worker share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use saga_core::store::Store;
use saga_core::{Clock, PAYLOAD_BYTES_MAX, PlannedCall, SagaId, Timestamp};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breakers::Breakers;
use crate::due::Due;
use crate::entropy::Entropy;
use crate::lease::Tenure;
use crate::punctual::Punctual;
use crate::registry::Registry;
use crate::telemetry::{Telemetry, TraceRatio};
use crate::watchers::Watchers;

/// One in so many of the sagas driven at once is kept for starts.
const RESERVED_FOR_STARTS: usize = 8;

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
    /// How large a part of the sagas without a trace context is recorded.
    pub(crate) trace_ratio: TraceRatio,
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
            losses_max: 10,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            retention: None,
            trace_ratio: TraceRatio::default(),
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
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) due: Due,
    /// One permit per driven saga, but for those that have one of the reserve.
    pub(crate) permits: Arc<Semaphore>,
    /// Permits that claims leave to starts: a saga that is started here while much is due would
    /// otherwise have to be claimed as well, after all that was due before it.
    reserve: Arc<Semaphore>,
    /// Sagas being driven.
    driven: Mutex<HashMap<SagaId, Entry>>,
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
        let telemetry = Arc::new(Telemetry::new(&options.name, options.trace_ratio));
        let reserve = options.concurrency_max / RESERVED_FOR_STARTS;
        Self {
            // Half a lease, so that a hanging store is given up before the lease is.
            store: Arc::new(Punctual::new(store, options.lease_ttl / 2, telemetry.clone())),
            breakers: Arc::new(Breakers::new(clock.clone())),
            clock,
            registry,
            entropy,
            watchers: Arc::default(),
            telemetry,
            due: Due::default(),
            permits: Arc::new(Semaphore::new(options.concurrency_max - reserve)),
            reserve: Arc::new(Semaphore::new(reserve)),
            driven: Mutex::default(),
            tenure: Mutex::default(),
            strays: AtomicBool::new(false),
            executors,
            draining: CancellationToken::new(),
            drained: CancellationToken::new(),
            options,
        }
    }

    /// How many sagas are driven here, or about to be.
    #[cfg(feature = "otel")]
    pub(crate) fn permits_taken(&self) -> usize {
        let free = self.permits.available_permits() + self.reserve.available_permits();
        self.options.concurrency_max.saturating_sub(free)
    }

    /// Room for a saga that is started here, if there is any.
    pub(crate) fn permit_to_start(&self) -> Option<OwnedSemaphorePermit> {
        let reserved = self.reserve.clone().try_acquire_owned();
        reserved.or_else(|_| self.permits.clone().try_acquire_owned()).ok()
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
        let entry = Entry::default();
        let driven = Driven {
            runtime: self.clone(),
            id,
            bell: entry.bell.clone(),
            calls: entry.calls.clone(),
        };
        self.driven().insert(id, entry);
        driven
    }

    pub(crate) fn is_driven(&self, id: SagaId) -> bool {
        self.driven().contains_key(&id)
    }

    /// Whether a call of an earlier lease may still be under way for this saga, so that this
    /// process must not drive it.
    pub(crate) fn is_barred(&self, id: SagaId) -> bool {
        self.driven().get(&id).is_some_and(|entry| entry.barred)
    }

    /// Bars every saga still driven, for as long as it is, and names the calls that hold it.
    pub(crate) fn bar_the_driven(&self) -> Vec<(SagaId, Vec<UnderWay>)> {
        let mut driven = self.driven();
        let bar = |(id, entry): (&SagaId, &mut Entry)| {
            entry.barred = true;
            (*id, entry.calls.all())
        };
        driven.iter_mut().map(bar).collect()
    }

    /// The calls under way, by saga.
    pub(crate) fn calls_under_way(&self) -> Vec<(SagaId, Vec<UnderWay>)> {
        let driven = self.driven();
        let calls = driven.iter().map(|(id, entry)| (*id, entry.calls.all()));
        calls.filter(|(_, calls)| !calls.is_empty()).collect()
    }

    /// The lock is held for one operation on the map or a walk through it, never across an await.
    fn driven(&self) -> MutexGuard<'_, HashMap<SagaId, Entry>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(entry) = self.driven().get(&id) {
            entry.bell.notify_one();
        }
    }
}

/// One saga on the list of those driven here.
#[derive(Default)]
struct Entry {
    bell: Arc<Notify>,
    calls: Arc<Calls>,
    /// Its executor outlived its lease.
    barred: bool,
}

/// A call under way, with the name of its step for people.
pub(crate) type UnderWay = (PlannedCall, String);

/// The calls under way for one saga.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Vec<UnderWay>>);

impl Calls {
    pub(crate) fn begin(&self, call: PlannedCall, step: &str) {
        self.lock().push((call, step.to_owned()));
    }

    pub(crate) fn end(&self, call: PlannedCall) {
        self.lock().retain(|(other, _)| *other != call);
    }

    fn all(&self) -> Vec<UnderWay> {
        self.lock().clone()
    }

    /// The lock is held for one operation on a list of a few, never across an await.
    fn lock(&self) -> MutexGuard<'_, Vec<UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A saga on the list of those driven here. It is put there before anything else happens to the
/// saga and taken off whatever happens, or the search for strays would find one twice or never.
pub(crate) struct Driven {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) id: SagaId,
    /// Rings when there may be a command in the inbox.
    pub(crate) bell: Arc<Notify>,
    /// What is under way for it.
    pub(crate) calls: Arc<Calls>,
}

impl Drop for Driven {
    /// Takes the saga off the list, unless a newer registration has replaced this one.
    fn drop(&mut self) {
        let mut driven = self.runtime.driven();
        if driven.get(&self.id).is_some_and(|current| Arc::ptr_eq(&current.bell, &self.bell)) {
            driven.remove(&self.id);
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("options", &self.options).finish_non_exhaustive()
    }
}
