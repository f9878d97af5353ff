//! Metrics, as Prometheus reads them and as they are pushed to a collector.
//!
//! The names of all of them are in [`saga_worker::telemetry`].

mod look;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder as _, Registry, TextEncoder};
use saga_store::OnCommit;
use saga_worker::telemetry::{
    COMMIT_DURATION, COMMIT_SIZE, Metric, OPERATION, OUTCOME, REQUEST_DURATION, SIGNAL, STATUS,
    TELEMETRY_DROPPED, WEBHOOK, WEBHOOK_DELIVERIES,
};
use tokio::time::{Instant, timeout_at};

use crate::otlp::{Lost, Otlp};
use crate::service::App;
use look::Look;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of the buckets of all times, in seconds: from a step on the same machine to a saga that
/// waits for an hour.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];
/// Bounds of the buckets of commit sizes, in changes.
const CHANGES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The instruments of a process, where `/metrics` finds them.
#[derive(Clone)]
pub struct Metrics(Arc<Collected>);

struct Collected {
    registry: Registry,
    provider: SdkMeterProvider,
    requests: Histogram<f64>,
    deliveries: Counter<u64>,
    /// How the store and the daemon looked last.
    seen: Arc<Mutex<Look>>,
    /// How often somebody is sent the metrics without asking.
    pushed_every: Option<Duration>,
}

impl Metrics {
    /// A registry of its own.
    ///
    /// # Errors
    /// When the exporter cannot be set up.
    pub fn new() -> Result<Self, OTelSdkError> {
        Self::exporting(None)
    }

    /// A registry of its own that is pushed to a collector as well.
    pub(crate) fn exporting(otlp: Option<&Otlp>) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter).with_view(buckets);
        if let Some(otlp) = otlp {
            provider = provider.with_resource(otlp.resource().clone());
        }
        if let Some(reader) = otlp.and_then(Otlp::reader) {
            provider = provider.with_reader(reader);
        }
        let provider = provider.build();
        let (meter, seen) = (provider.meter("saga-daemon"), Arc::default());
        look::observe(&meter, &seen);
        observe_lost(&meter, otlp.map(|otlp| otlp.lost().clone()).unwrap_or_default());
        let requests = meter.f64_histogram(REQUEST_DURATION.name).with_unit(REQUEST_DURATION.unit);
        let requests = requests.with_description(REQUEST_DURATION.about).build();
        let deliveries = meter.u64_counter(WEBHOOK_DELIVERIES.name);
        let deliveries = deliveries.with_unit(WEBHOOK_DELIVERIES.unit);
        let deliveries = deliveries.with_description(WEBHOOK_DELIVERIES.about).build();
        let pushed_every = otlp.and_then(Otlp::interval);
        Ok(Self(Arc::new(Collected {
            registry,
            provider,
            requests,
            deliveries,
            seen,
            pushed_every,
        })))
    }

    /// Makes it the place where every instrument of this process is read, also the worker's. To be
    /// called once, before the worker starts; a program with an SDK of its own leaves it out.
    pub fn install_globally(&self) {
        global::set_meter_provider(self.0.provider.clone());
    }

    pub(crate) fn answered(&self, operation: &'static str, status: StatusCode, took: Duration) {
        let attributes = [
            KeyValue::new(OPERATION, operation),
            KeyValue::new(STATUS, i64::from(status.as_u16())),
        ];
        self.0.requests.record(took.as_secs_f64(), &attributes);
    }

    pub(crate) fn delivered(&self, webhook: &str, outcome: &'static str) {
        let attributes =
            [KeyValue::new(WEBHOOK, webhook.to_owned()), KeyValue::new(OUTCOME, outcome)];
        self.0.deliveries.add(1, &attributes);
    }

    /// Measures the commits of a store.
    pub(crate) fn on_commit(&self) -> OnCommit {
        let meter = self.0.provider.meter("saga-store");
        let histogram = |metric: Metric| {
            let histogram = meter.f64_histogram(metric.name).with_unit(metric.unit);
            histogram.with_description(metric.about).build()
        };
        let (size, duration) = (histogram(COMMIT_SIZE), histogram(COMMIT_DURATION));
        OnCommit::new(move |commit| {
            size.record(f64::from(u32::try_from(commit.changes).unwrap_or(u32::MAX)), &[]);
            duration.record(commit.took.as_secs_f64(), &[]);
        })
    }

    /// Everything in the text format of Prometheus, as it is now.
    pub(crate) async fn render(&self, app: &App) -> String {
        self.look(app).await;
        let mut bytes = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut bytes) {
            tracing::error!(%error, "cannot write the metrics");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Keeps what is known of the store fresh for those who are sent the metrics without asking.
    pub(crate) async fn keep_looking(&self, app: &App) {
        let Some(every) = self.0.pushed_every else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(every.min(LOOK_EVERY_MAX));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(app).await;
        }
    }

    /// Sends the last round to whoever is sent the metrics, until `deadline` at the latest.
    pub(crate) async fn finish(&self, deadline: Instant) {
        let (provider, left) = (self.0.provider.clone(), deadline - Instant::now());
        let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(left));
        // What is lost with it is counted where it is sent.
        drop(timeout_at(deadline, ending).await);
    }

    async fn look(&self, app: &App) {
        let look = Look::at(app).await;
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }
}

/// Longest time between two looks at the store for metrics that are pushed.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(15);

/// The buckets of a histogram follow from what it measures.
fn buckets(instrument: &Instrument) -> Option<Stream> {
    let boundaries = match instrument.unit() {
        "s" => SECONDS.to_vec(),
        unit if unit == COMMIT_SIZE.unit => CHANGES.to_vec(),
        _ => return None,
    };
    // Gauges have such units too, and are none of these.
    if instrument.kind() != opentelemetry_sdk::metrics::InstrumentKind::Histogram {
        return None;
    }
    let aggregation = Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: false };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

fn observe_lost(meter: &Meter, lost: Arc<Lost>) {
    let counter = meter.u64_observable_counter(TELEMETRY_DROPPED.name);
    let counter =
        counter.with_unit(TELEMETRY_DROPPED.unit).with_description(TELEMETRY_DROPPED.about);
    let counter = counter.with_callback(move |observer| {
        for (signal, count) in lost.by_signal() {
            observer.observe(count, &[KeyValue::new(SIGNAL, signal)]);
        }
    });
    // The provider keeps the callback; the instrument itself is not needed again.
    let _ = counter.build();
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
