//! Metrics as Prometheus reads them.
//!
//! | name | kind | measures | labels |
//! | --- | --- | --- | --- |
//! | `saga_http_request_duration_seconds` | histogram | one request, up to the head of its answer | `operation`, `status` |
//! | `saga_sagas` | gauge | sagas on record | `saga_status` |
//! | `saga_ready` | gauge | 1, or 0 once the drain has begun | |
//!
//! Beside these are the instruments of the worker, whose table is in [`saga_worker::telemetry`]:
//! dots become underscores, counters end in `_total`, times in `_seconds`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use opentelemetry::metrics::{Histogram, MeterProvider as _};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder as _, Registry, TextEncoder};
use saga_core::Status;

/// The media type of the text.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Histogram of requests.
pub(crate) const REQUEST_DURATION: &str = "saga.http.request.duration";
/// Gauge of the sagas on record.
pub(crate) const SAGAS: &str = "saga_sagas";
/// Gauge of readiness.
pub(crate) const READY: &str = "saga_ready";

/// Bounds of the buckets of all times, in seconds: from a step on the same machine to a saga that
/// waits for an hour.
const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
    3600.0,
];

/// The instruments of a process, where `/metrics` finds them.
#[derive(Clone)]
pub struct Metrics(Arc<Collected>);

struct Collected {
    registry: Registry,
    provider: SdkMeterProvider,
    requests: Histogram<f64>,
}

impl Metrics {
    /// A registry of its own.
    ///
    /// # Errors
    /// When the exporter cannot be set up.
    pub fn new() -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let seconds = |instrument: &Instrument| {
            let aggregation = Aggregation::ExplicitBucketHistogram {
                boundaries: SECONDS.to_vec(),
                record_min_max: false,
            };
            let stream = Stream::builder().with_aggregation(aggregation);
            (instrument.unit() == "s").then(|| stream.build().ok()).flatten()
        };
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(seconds).build();
        let meter = provider.meter("saga-daemon");
        let requests = meter.f64_histogram(REQUEST_DURATION).with_unit("s").build();
        Ok(Self(Arc::new(Collected { registry, provider, requests })))
    }

    /// Makes it the place where every instrument of this process is read, also the worker's. To be
    /// called once, before the worker starts; a program with an SDK of its own leaves it out.
    pub fn install_globally(&self) {
        global::set_meter_provider(self.0.provider.clone());
    }

    pub(crate) fn answered(&self, operation: &'static str, status: StatusCode, took: Duration) {
        let attributes = [
            KeyValue::new("operation", operation),
            KeyValue::new("status", i64::from(status.as_u16())),
        ];
        self.0.requests.record(took.as_secs_f64(), &attributes);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Everything in the text format of Prometheus.
pub(crate) fn render(metrics: Option<&Metrics>, counts: &[(Status, u64)], ready: bool) -> String {
    let mut text = String::new();
    if let Some(metrics) = metrics {
        let mut bytes = Vec::new();
        match TextEncoder::new().encode(&metrics.0.registry.gather(), &mut bytes) {
            Ok(()) => text = String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => tracing::error!(%error, "cannot write the metrics"),
        }
    }
    let _ = writeln!(text, "# HELP {SAGAS} Sagas on record.\n# TYPE {SAGAS} gauge");
    for (status, count) in counts {
        let _ = writeln!(text, "{SAGAS}{{saga_status=\"{}\"}} {count}", status.as_str());
    }
    let _ = writeln!(text, "# HELP {READY} 0 once the drain has begun.\n# TYPE {READY} gauge");
    let _ = writeln!(text, "{READY} {}", u8::from(ready));
    text
}
