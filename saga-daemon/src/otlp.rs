//! Traces and metrics to an OpenTelemetry collector: OTLP over HTTP in protobuf.
//!
//! Nothing here is ever waited for: a span goes into a bounded queue or is dropped and counted, and
//! what a collector does not take for half a minute is dropped and counted too. Once a minute the
//! log says how much that was.

mod lost;
mod metrics;
mod queue;
mod sender;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SdkTracerProvider};
use reqwest::Url;
use reqwest::header::HeaderMap;
use saga_worker::telemetry::{TraceRatio, planned_span_id, planned_trace_id};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use lost::Lost;
pub(crate) use metrics::MetricsExporter;

use sender::Sender;

/// Where telemetry goes.
#[derive(Clone, Debug)]
pub(crate) struct OtlpConfig {
    pub(crate) traces: Option<Url>,
    pub(crate) metrics: Option<Url>,
    /// For every request; their values are secrets.
    pub(crate) headers: HeaderMap,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// How often metrics are sent.
    pub(crate) interval: Duration,
    pub(crate) ratio: TraceRatio,
    pub(crate) service_name: String,
}

/// The export of one process.
pub(crate) struct Otlp {
    resource: Resource,
    metrics: Option<(Sender, Duration)>,
    lost: Arc<Lost>,
    ending: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Otlp {
    /// Begins to export; `None` when there is nowhere to export to. Spans of the whole process go
    /// through it from now on. `instance` tells this process from others of its kind.
    ///
    /// # Errors
    /// When no HTTP client can be built, such as for a lack of root certificates.
    pub(crate) fn start(
        config: &OtlpConfig,
        instance: &str,
    ) -> Result<Option<Self>, reqwest::Error> {
        if config.traces.is_none() && config.metrics.is_none() {
            return Ok(None);
        }
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", instance.to_owned()),
            ])
            .build();
        let (lost, ending) = (Arc::new(Lost::default()), CancellationToken::new());
        let mut tasks = Vec::new();
        if let Some(url) = &config.traces {
            let sender = Sender::new(url, config)?;
            let (spans, task) = queue::start(sender, &resource, lost.clone(), ending.clone());
            tasks.push(task);
            let provider = SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
                .with_id_generator(PlannedIds::default())
                .with_max_events_per_span(256)
                .with_span_processor(spans)
                .build();
            global::set_tracer_provider(provider);
        }
        let sender = config.metrics.as_ref().map(|url| Sender::new(url, config)).transpose()?;
        let metrics = sender.map(|sender| (sender, config.interval));
        tokio::spawn(lost::report(lost.clone(), ending.clone()));
        Ok(Some(Self { resource, metrics, lost, ending, tasks }))
    }

    /// What a meter provider has to be given to export too.
    pub(crate) fn reader(&self) -> Option<PeriodicReader<MetricsExporter>> {
        let (sender, interval) = self.metrics.as_ref()?;
        let exporter = MetricsExporter::new(sender.clone(), self.lost.clone());
        Some(PeriodicReader::builder(exporter).with_interval(*interval).build())
    }

    /// How often metrics are read, where they are exported.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.metrics.as_ref().map(|(_, interval)| *interval)
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn lost(&self) -> &Arc<Lost> {
        &self.lost
    }

    /// Sends what is there, until `deadline` at the latest.
    pub(crate) async fn finish(self, deadline: Instant) {
        self.ending.cancel();
        for mut task in self.tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                // What it still held is dropped with it, and counted then.
                let _ = task.await;
            }
        }
        self.lost.tell();
    }
}

impl std::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otlp").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// Gives spans the ids that the worker has planned for them.
#[derive(Debug, Default)]
struct PlannedIds(RandomIdGenerator);

impl IdGenerator for PlannedIds {
    fn new_trace_id(&self) -> TraceId {
        planned_trace_id().unwrap_or_else(|| self.0.new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        planned_span_id().unwrap_or_else(|| self.0.new_span_id())
    }
}
