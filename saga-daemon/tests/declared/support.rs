//! A service that remembers what it was sent, and a saga's context by hand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use saga_core::{
    Bucket, Cancellation, Definition, Failure, Op, Payload, SagaId, StepContext, StepIndex,
    StepOutput, TypeKey,
};
use saga_daemon::declared::{self, Declared, Options};
use serde_json::Value;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A service on loopback that answers as it is told.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
}

impl Service {
    pub(crate) async fn start(
        answer: impl Fn(&Seen) -> (u16, Vec<u8>) + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = seen.clone();
        let router = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let request = Seen { method, uri, headers, body };
                let (status, body) = answer(&request);
                kept.lock().unwrap().push(request);
                async move { respond(status, body) }
            },
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub(crate) fn taken(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn respond(status: u16, body: Vec<u8>) -> Response {
    // Each call makes a connection of its own, so that each one passes the guard.
    (StatusCode::from_u16(status).unwrap(), [("connection", "close")], body).into_response()
}

/// Reads a definition that must be right.
#[track_caller]
pub(crate) fn declare(text: &str, options: &Options) -> Declared {
    declared::parse("test.yaml", text, options).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of a definition that must be wrong, as they are shown.
#[track_caller]
pub(crate) fn faults(text: &str) -> String {
    let faults = declared::parse("test.yaml", text, &Options::default());
    faults.map(|declared| declared.definition).unwrap_err().to_string()
}

/// What one call is made with.
pub(crate) struct Given<'a> {
    pub(crate) input: Value,
    pub(crate) outputs: &'a [(&'a str, Value)],
    pub(crate) op: Op,
}

impl Default for Given<'_> {
    fn default() -> Self {
        Self { input: Value::Null, outputs: &[], op: Op::Action }
    }
}

/// Makes one call of a step.
pub(crate) async fn call(
    definition: &Definition,
    step: u16,
    given: Given<'_>,
) -> Result<Payload, Failure> {
    let calls = definition.calls(StepIndex(step)).unwrap();
    let call = match given.op {
        Op::Action => &calls.action,
        Op::Compensation => calls.compensation.as_ref().unwrap(),
    };
    let output = |(step, value): &(&str, Value)| StepOutput {
        step: (*step).into(),
        gives: TypeKey::of::<Value>(),
        value: Payload::encode(value).unwrap(),
    };
    let context = StepContext {
        saga_id: SagaId::new(1, 2, Bucket::of("a", 1)),
        saga: definition.spec().name.as_str().into(),
        step: definition.spec().steps[usize::from(step)].name.as_str().into(),
        op: given.op,
        attempt: 3,
        gives: TypeKey::of::<Value>(),
        input: Payload::encode(&given.input).unwrap(),
        outputs: given.outputs.iter().map(output).collect(),
        cancellation: Cancellation::never(),
        traceparent: None,
    };
    call.call(context).await
}

/// Headers by name, without those that every client sends.
pub(crate) fn own_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let usual = ["host", "content-length", "accept", "content-type"];
    let of_protocol = |name: &str| name.starts_with("x-saga-") || name == "idempotency-key";
    let own = headers
        .iter()
        .filter(|(name, _)| !usual.contains(&name.as_str()) && !of_protocol(name.as_str()));
    own.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}
