//! A daemon on a port of its own, and a client that holds every answer against the document.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use saga_core::{Definition, Failure, Input, MemoryStore, Output, RetryPolicy, Step, Store};
use saga_daemon::access::{ApiKey, ApiKeys, Role};
use saga_daemon::{Daemon, DaemonBuilder, DaemonHandle, Limits};
use saga_worker::{DrainReport, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) order: u32,
    /// `declined` is rejected, `broken` fails, `held` waits at the gate.
    #[serde(default)]
    pub(crate) card: String,
}

/// Where held payments wait: each permit lets one through.
pub(crate) type Gate = Arc<Semaphore>;

async fn reserve(Input(order): Input<Order>) -> Result<u32, Failure> {
    Ok(order.order)
}

async fn release(_: Option<Output<u32>>) -> Result<(), Failure> {
    Ok(())
}

async fn pay(order: Order, gate: Gate) -> Result<(), Failure> {
    match order.card.as_str() {
        "declined" => Err(Failure::rejected("card declined")),
        "broken" => Err(Failure::transient("the bank does not answer")),
        "held" => {
            gate.acquire().await.expect("nobody closes the gate").forget();
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn confirm() -> Result<&'static str, Failure> {
    Ok("confirmed")
}

/// Reserve, pay (the pivot), confirm.
pub(crate) fn place_order(gate: &Gate) -> Definition {
    let gate = gate.clone();
    let pay = Step::pivot("pay", move |Input(order): Input<Order>| pay(order, gate.clone()));
    let steps = [
        Step::compensatable("reserve", reserve, release),
        pay.retry(RetryPolicy::new(1, Duration::from_millis(1))),
        Step::retriable("confirm", confirm),
    ];
    Definition::new("place-order", steps).unwrap()
}

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)))
}

/// One key of each role, and their texts in the same order.
pub(crate) fn keys() -> (ApiKeys, Vec<(Role, String)>) {
    let made = Role::ALL.map(|role| (role, ApiKey::create(role.as_str(), role).unwrap()));
    let keys = ApiKeys::new(made.iter().map(|(_, (key, _))| key.clone())).unwrap();
    (keys, made.into_iter().map(|(role, (_, text))| (role, text)).collect())
}

/// A daemon that runs, and a way to it.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) gate: Gate,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<DrainReport>,
    pub(crate) handle: DaemonHandle,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(memory()).await
    }

    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        Self::with(store, |builder| builder).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::with(memory(), |builder| builder.limits(limits)).await
    }

    pub(crate) async fn with(
        store: Arc<dyn Store>,
        tune: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
    ) -> Self {
        let gate: Gate = Arc::new(Semaphore::new(0));
        let builder = tune(Daemon::builder(store).register(place_order(&gate)));
        Self::of(builder, gate).await
    }

    /// A daemon without a worker.
    pub(crate) async fn idle(store: Arc<dyn Store>) -> Self {
        Self::of(Daemon::builder(store), Arc::new(Semaphore::new(0))).await
    }

    async fn of(builder: DaemonBuilder, gate: Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let daemon = builder.start(listener).await.unwrap();
        let handle = daemon.handle();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(daemon.run(shutdown.clone()));
        Self { api: Api::at(url).await, gate, shutdown, running, handle }
    }

    /// Starts an order and answers its id.
    pub(crate) async fn start(&self, order: u32, card: &str) -> String {
        let started = self.api.post("/v1/sagas/place-order", &order_json(order, card)).await;
        assert_eq!(started.status, 201, "{}", started.body);
        started.text("/id")
    }

    /// Waits until a saga is in this status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Answer {
        let path = format!("/v1/sagas/{id}");
        let arrived = async {
            let mut view = self.api.get(&path).await;
            while view.text("/status") != status {
                let known = view.header("etag");
                let next = self.api.request(Method::GET, &format!("{path}?wait=1s"));
                let next = self.api.send(next.header("If-None-Match", known)).await;
                if next.status == 200 {
                    view = next;
                }
            }
            view
        };
        tokio::time::timeout(PATIENCE, arrived).await.unwrap_or_else(|_| panic!("never {status}"))
    }

    pub(crate) async fn stop(self) -> DrainReport {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("it ends").unwrap()
    }
}

pub(crate) fn order_json(order: u32, card: &str) -> Value {
    serde_json::json!({ "order": order, "card": card })
}

/// A client of one daemon.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    client: reqwest::Client,
    document: Arc<Value>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
    pub(crate) raw: String,
}

impl Answer {
    /// A text of the body, by its JSON pointer.
    pub(crate) fn text(&self, pointer: &str) -> String {
        let value = self.body.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer}: {}", self.raw)).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().unwrap().to_owned()
    }

    /// The end of the problem's type, after checking that it is a problem of this status.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status);
        assert!(!self.text("/title").is_empty() && !self.text("/detail").is_empty());
        self.text("/type").rsplit('/').next().unwrap().to_owned()
    }
}

impl Api {
    pub(crate) async fn at(url: String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No resting connections: some tests let them rest for a short time only.
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let client = client.pool_max_idle_per_host(0).build().unwrap();
        let document = client.get(format!("{url}/openapi.json")).send().await.unwrap();
        let document = serde_json::from_str(&document.text().await.unwrap()).unwrap();
        Self { url, key: None, client, document: Arc::new(document) }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a request; an answer with a status that the document does not name is a failure.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().unwrap();
        let (method, path) =
            (request.method().as_str().to_lowercase(), request.url().path().to_owned());
        let response = self.client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let raw = response.text().await.unwrap();
        self.assert_documented(&method, &path, status);
        let body = serde_json::from_str(&raw).unwrap_or(Value::Null);
        Answer { status: status.as_u16(), headers, body, raw }
    }

    fn assert_documented(&self, method: &str, path: &str, status: StatusCode) {
        let paths = self.document["paths"].as_object().unwrap();
        let operation = paths.iter().find_map(|(template, methods)| {
            fits(template, path).then(|| methods.get(method)).flatten()
        });
        if let Some(operation) = operation {
            let documented = operation["responses"].get(status.as_str()).is_some();
            assert!(documented, "{method} {path} answered {status}, which is not documented");
        } else {
            assert!(matches!(status.as_u16(), 404 | 405 | 421), "{method} {path}: {status}");
        }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }
}

pub(crate) fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let one = |(part, given): (&&str, &&str)| part.starts_with('{') || part == given;
    template.len() == path.len() && template.iter().zip(&path).all(one)
}
