//! What all requests share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use saga_core::{DefinitionRef, DefinitionSpec};
use saga_worker::{BreakerView, Client, Worker};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{ApiKeys, Held, Principal, Role};
use crate::audit::Refusals;
use crate::daemon::Exposure;
use crate::feed::{Feed, Places, Tickets};
use crate::metrics::Metrics;
use crate::problem::{Kind, Problem};
use crate::rate::Rates;
use crate::webhooks::Webhooks;

/// The bounds of the HTTP side.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body, in bytes. Default 1 MiB.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive. Default 10 s.
    pub body_within: Duration,
    /// How long the handshake of a TLS connection may take. Default 10 s.
    pub handshake_within: Duration,
    /// How long the head of a request may take to arrive, and so how long a connection may rest
    /// between two. Default 30 s: clients that keep connections expect some rest.
    pub head_within: Duration,
    /// How long a request may take, beside the wait it asks for. Default 40 s, a little more than
    /// a command is waited for.
    pub request_within: Duration,
    /// Most connections at a time; further ones wait to be accepted. Default 4096.
    pub connections_max: usize,
    /// Most event streams at a time, WebSockets among them. Default 2048.
    pub streams_max: usize,
    /// Most of them by one API key. Default 1024.
    pub streams_per_key_max: usize,
    /// Most requests of one API key for each second, messages over WebSockets among them; twice as
    /// many may come at once. 0 for no bound. Default 1000.
    pub requests_per_key_max: u32,
    /// How long a client may take nothing of what it is sent before its connection is cut.
    /// Default 30 s.
    pub write_within: Duration,
    /// How often a silent stream shows that it is alive. Default 15 s.
    pub heartbeat: Duration,
    /// How long connections may take to come to an end after the drain. Default 5 s.
    pub close_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1024 * 1024,
            body_within: Duration::from_secs(10),
            handshake_within: Duration::from_secs(10),
            head_within: Duration::from_secs(30),
            request_within: Duration::from_secs(40),
            connections_max: 4096,
            streams_max: 2048,
            streams_per_key_max: 1024,
            requests_per_key_max: 1_000,
            write_within: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            close_within: Duration::from_secs(5),
        }
    }
}

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) client: Client,
    /// Taken out when the drain begins.
    pub(crate) worker: Mutex<Option<Worker>>,
    /// Replaced when they are read again; held for a look only.
    pub(crate) keys: RwLock<ApiKeys>,
    /// Further host names that requests may be made to; replaced as the keys are.
    pub(crate) hosts: RwLock<Vec<String>>,
    pub(crate) exposure: Exposure,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// Where the daemon listens; decides which hosts it answers for.
    pub(crate) address: SocketAddr,
    /// Places for event streams.
    pub(crate) places: Arc<Places>,
    /// How fast each key makes requests.
    pub(crate) rates: Rates,
    /// Other sites whose pages may open streams.
    pub(crate) origins: Vec<String>,
    /// What is pushed to those who subscribe to all sagas.
    pub(crate) feed: Feed,
    pub(crate) tickets: Tickets,
    /// The webhooks; replaced when they are read again.
    pub(crate) webhooks: watch::Sender<Webhooks>,
    /// Refusals that the audit trail has taken of late.
    pub(crate) refusals: Refusals,
    /// How long entries of the audit trail are kept; `None` for ever.
    pub(crate) audit_retention: Option<Duration>,
    /// Everything that has to come to an end before the daemon does: connections and WebSockets.
    pub(crate) tasks: TaskTracker,
    pub(crate) ready: AtomicBool,
    /// Fires when streams and waits have to end.
    pub(crate) closing: CancellationToken,
    /// Definitions are small and never change once on record.
    pub(crate) specs: Mutex<BTreeMap<DefinitionRef, Arc<DefinitionSpec>>>,
}

impl App {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.0.places
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn tickets(&self) -> &Tickets {
        &self.0.tickets
    }

    pub(crate) fn webhooks(&self) -> &watch::Sender<Webhooks> {
        &self.0.webhooks
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    pub(crate) fn audit_retention(&self) -> Option<Duration> {
        self.0.audit_retention
    }

    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.0.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }

    /// What a stream has to remember of the key that opens it.
    pub(crate) fn hold(&self, principal: &Principal) -> Held {
        self.keys().hold(principal)
    }

    /// Whether the key of a stream is still good.
    pub(crate) fn still_valid(&self, held: &Held) -> bool {
        self.keys().still_hold(held)
    }

    fn keys(&self) -> RwLockReadGuard<'_, ApiKeys> {
        self.0.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who makes a request that shows this ticket.
    pub(crate) fn ticketed(&self, ticket: &str) -> Result<Principal, Problem> {
        let held = self.tickets().redeem(ticket, Instant::now());
        let held = held.filter(|held| self.still_valid(held)).ok_or_else(|| {
            let detail = "the ticket was used, has run out or was never given here: get another with POST /v1/tickets";
            Problem::new(Kind::Unauthenticated, detail)
                .with_header(axum::http::header::WWW_AUTHENTICATE, BEARER)
        })?;
        Ok(held.principal)
    }

    /// Counts a request of a key. Whoever needs no key is on this machine, or may do everything.
    ///
    /// # Errors
    /// A problem when the key makes them faster than it may.
    pub(crate) fn count_request(&self, principal: &Principal) -> Result<(), Problem> {
        let Some(key) = &principal.key else { return Ok(()) };
        let most = self.limits().requests_per_key_max;
        self.0.rates.take(key, most, Instant::now()).map_err(|missing| {
            let detail = format!(
                "the key {key} may make {most} requests a second here: come back after `Retry-After`, or have http.requests_per_key_max raised"
            );
            let seconds = HeaderValue::from(missing.as_secs().saturating_add(1));
            Problem::new(Kind::TooManyRequests, detail).with_header(RETRY_AFTER, seconds)
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::SeqCst)
    }

    /// From now on `/readyz` says that requests should go elsewhere.
    pub(crate) fn unready(&self) {
        self.0.ready.store(false, Ordering::SeqCst);
    }

    pub(crate) fn breakers(&self) -> Vec<BreakerView> {
        let worker = self.0.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().map(Worker::breakers).unwrap_or_default()
    }

    /// Asks the worker something, unless there is none or it drains.
    pub(crate) fn with_worker<T>(&self, ask: impl FnOnce(&Worker) -> T) -> Option<T> {
        self.0.worker.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
    }

    /// Whether other machines could do everything if there were no keys.
    pub(crate) fn needs_keys(&self) -> bool {
        !self.0.address.ip().is_loopback() && self.0.exposure == Exposure::Loopback
    }

    pub(crate) fn replace_keys(&self, keys: ApiKeys) {
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn replace_hosts(&self, hosts: Vec<String>) {
        *self.0.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// From now on definitions are read from the store again: their policies may have changed.
    pub(crate) fn forget_specs(&self) {
        self.0.specs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn take_worker(&self) -> Option<Worker> {
        self.0.worker.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A definition as it is on record.
    pub(crate) async fn spec(
        &self,
        definition: &DefinitionRef,
    ) -> Result<Option<Arc<DefinitionSpec>>, Problem> {
        let specs = || self.0.specs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = specs().get(definition).cloned() {
            return Ok(Some(known));
        }
        let store = self.client().store();
        let stored = store.definition(&definition.name, definition.version).await?;
        let spec = stored.filter(|spec| spec.reference() == *definition).map(Arc::new);
        if let Some(spec) = &spec {
            specs().insert(definition.clone(), spec.clone());
        }
        Ok(spec)
    }

    /// Whether those who call have to show a key.
    pub(crate) fn asks_for_keys(&self) -> bool {
        !self.keys().is_empty()
    }

    /// Who makes a request that shows this key.
    pub(crate) fn principal(&self, bearer: Option<&str>) -> Result<Principal, Problem> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.is_empty() {
            return Ok(Principal { key: None, role: Role::Admin });
        }
        let refused = |why: &str| {
            let expected =
                "expected `Authorization: Bearer sk_<id>_<secret>` with a key that is valid here";
            Problem::new(Kind::Unauthenticated, format!("{why}: {expected}"))
                .with_header(axum::http::header::WWW_AUTHENTICATE, BEARER)
        };
        let bearer = bearer.ok_or_else(|| refused("the request shows no API key"))?;
        keys.recognise(bearer).ok_or_else(|| {
            refused(match keys.has_expired(bearer) {
                true => "the API key has expired",
                false => "the API key is not one of those known here",
            })
        })
    }

    /// Whether the daemon answers for this host. On loopback only names of this machine are, so
    /// that no page of another site can reach it by a name of its own.
    pub(crate) fn answers_for(&self, host: Option<&str>) -> bool {
        let name = host.map(host_name).unwrap_or_default();
        let hosts = self.0.hosts.read().unwrap_or_else(PoisonError::into_inner);
        let listed = hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
        let ours = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let anybody = !self.0.address.ip().is_loopback() && hosts.is_empty();
        listed || ours || anybody
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.0.address).finish_non_exhaustive()
    }
}

const BEARER: axum::http::HeaderValue = axum::http::HeaderValue::from_static("Bearer");

/// A host without its port and brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (host, name) in [
            ("localhost:7878", "localhost"),
            ("[::1]:80", "::1"),
            ("127.0.0.1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_name(host), name);
        }
    }
}
