//! A collector of OpenTelemetry, and participants that remember which span they were told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::sync::Notify;

/// Longest time that telemetry may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is told bit by bit, and can be waited for.
#[derive(Default)]
struct Told<T> {
    so_far: Mutex<T>,
    more: Condvar,
}

impl<T> Told<T> {
    fn tell(&self, more: impl FnOnce(&mut T)) {
        more(&mut self.so_far());
        self.more.notify_all();
    }

    fn so_far(&self) -> MutexGuard<'_, T> {
        self.so_far.lock().unwrap()
    }

    /// Waits until there is enough of it, and otherwise fails with what there is.
    fn until<R>(&self, enough: impl Fn(&T) -> Option<R>, otherwise: impl Fn(&T) -> String) -> R {
        let deadline = Instant::now() + PATIENCE;
        let mut so_far = self.so_far();
        loop {
            if let Some(found) = enough(&so_far) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{}", otherwise(&so_far));
            so_far = self.more.wait_timeout(so_far, left).unwrap().0;
        }
    }
}

/// What has arrived so far.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Told<Vec<Span>>>,
    metrics: Arc<Told<BTreeMap<String, Vec<f64>>>>,
    /// Attributes of the sources, and headers that came with them.
    pub(crate) sources: Arc<Mutex<Vec<(String, String)>>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let mut collector = Self::default();
        let router = Router::new()
            .route("/v1/traces", post(take_traces))
            .route("/v1/metrics", post(take_metrics));
        collector.url = serve(router.with_state(collector.clone())).await;
        collector
    }

    /// The spans there are once `enough` of them are, each id once: what a killed worker had sent
    /// already comes again from the one that goes on.
    pub(crate) fn spans_once(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let once = |spans: &[Span]| {
            let mut seen = BTreeSet::new();
            let new = |span: &&Span| seen.insert(span.span_id.clone());
            spans.iter().filter(new).cloned().collect::<Vec<_>>()
        };
        let names = |spans: &Vec<Span>| {
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            format!("not enough yet: {names:?}")
        };
        self.spans.until(|spans| Some(once(spans)).filter(|spans| enough(spans)), names)
    }

    /// Waits until a metric of this name has arrived with a value above zero.
    pub(crate) fn until_metric(&self, name: &str) {
        let positive = |values: &Vec<f64>| values.iter().any(|value| *value > 0.0);
        self.metrics.until(
            |metrics| metrics.get(name).is_some_and(positive).then_some(()),
            |metrics| format!("no {name} among {:?}", metrics.keys()),
        );
    }
}

async fn take_traces(
    State(collector): State<Collector>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut sources = collector.sources.lock().unwrap();
    for (name, value) in &headers {
        sources.push((name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    }
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        sources.extend(attributes.iter().map(|one| (one.key.clone(), as_text(one))));
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        collector.spans.tell(|so_far| so_far.extend(spans));
    }
    StatusCode::OK
}

async fn take_metrics(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    let Ok(request) = ExportMetricsServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let number = |value: Option<Number>| match value {
        Some(Number::AsDouble(number)) => number,
        Some(Number::AsInt(number)) => number as f64,
        None => 0.0,
    };
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics) {
        let values = match metric.data {
            Some(Data::Gauge(gauge)) => {
                gauge.data_points.into_iter().map(|point| number(point.value)).collect()
            }
            Some(Data::Sum(sum)) => {
                sum.data_points.into_iter().map(|point| number(point.value)).collect()
            }
            Some(Data::Histogram(histogram)) => {
                histogram.data_points.into_iter().map(|point| point.count as f64).collect()
            }
            _ => Vec::new(),
        };
        collector.metrics.tell(|metrics| drop(metrics.insert(metric.name, values)));
    }
    StatusCode::OK
}

/// An attribute as text.
pub(crate) fn as_text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// An attribute of a span, by its key.
pub(crate) fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    found.map(as_text).unwrap_or_default()
}

/// Participants that note the trace context of each call. `held` waits to be let go, `refused`
/// is rejected, `broken` fails, everything else is done.
#[derive(Clone, Default)]
pub(crate) struct Participants {
    pub(crate) url: String,
    calls: Arc<Told<Vec<(String, String)>>>,
    gate: Arc<Notify>,
}

impl Participants {
    pub(crate) async fn start() -> Self {
        let mut participants = Self::default();
        let router = Router::new().route("/{call}", post(take_call));
        participants.url = serve(router.with_state(participants.clone())).await;
        participants
    }

    /// The trace contexts that came with the calls of this name.
    pub(crate) fn told(&self, call: &str) -> Vec<String> {
        let calls = self.calls.so_far();
        calls.iter().filter(|(name, _)| name == call).map(|(_, told)| told.clone()).collect()
    }

    /// Waits for the first call of this name.
    pub(crate) fn until_called(&self, call: &str) {
        self.calls.until(
            |calls| calls.iter().any(|(name, _)| name == call).then_some(()),
            |_| format!("{call} was never called"),
        );
    }
}

async fn take_call(
    State(participants): State<Participants>,
    Path(call): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, Json<serde_json::Value>) {
    let told = headers["traceparent"].to_str().unwrap().to_owned();
    let first = participants.told(&call).is_empty();
    participants.calls.tell(|calls| calls.push((call.clone(), told)));
    match call.as_str() {
        "held" if first => {
            participants.gate.notified().await;
            (StatusCode::OK, Json(json!({})))
        }
        "broken" => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "detail": "out of order" }))),
        "refused" => (StatusCode::CONFLICT, Json(json!({ "detail": "no courier today" }))),
        _ => (StatusCode::OK, Json(json!({ "done": call }))),
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
