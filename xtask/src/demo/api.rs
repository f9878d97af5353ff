//! The HTTP side of the order service and of the participants' books, as the demo and the soak see it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::driver::Shop;
use super::plan::Order;
use crate::text;

/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How long a call is made again that was answered with an error.
const ERRORS_MAX: Duration = Duration::from_secs(10);
/// The first pause before a repeated call; it doubles each time.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The client that all calls share.
///
/// # Errors
/// When the HTTP client cannot be set up.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(CALL_WITHIN).no_proxy();
    builder.build().context("could not set up the HTTP client")
}

/// The order service at one address.
#[derive(Debug, Clone)]
pub(crate) struct OrderService {
    client: reqwest::Client,
    url: String,
    patience: Duration,
    /// Rows of the orders appear together with their sagas.
    together: bool,
}

/// An answer that promises a better one later: status 503.
#[derive(Debug)]
pub(crate) struct NotNow(pub String);

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotNow {}

/// What the placing of an order was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A new order, or the order this key had before.
    Accepted { order_id: String, is_new: bool },
    /// The key belongs to an order with another body.
    Conflict,
    /// Any other refusal, with its body.
    Refused { status: u16, body: String },
}

/// What a saga is at the moment or has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Running,
    Compensating,
    Stuck,
    Completed,
    Compensated,
    Stopped,
}

/// How many sagas are in each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub running: usize,
    pub compensating: usize,
    pub stuck: usize,
    pub completed: usize,
    pub compensated: usize,
    pub stopped: usize,
}

/// The parts of a saga's view that the demo reads. Times are epoch microseconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SagaView {
    pub id: String,
    pub status: Status,
    pub started_at: i64,
    pub ended_at: Option<i64>,
    pub wait: Option<Wait>,
    pub steps: Vec<StepView>,
}

/// Why a saga that is alive does not move.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Wait {
    pub text: String,
}

/// One step of a saga's view.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StepView {
    pub name: String,
    pub state: String,
    #[serde(default)]
    pub output: Value,
}

/// One transition in a saga's log, its events in words; `at` is in epoch microseconds.
#[derive(Debug, Clone)]
pub(crate) struct LogEntry {
    pub at: i64,
    pub events: Vec<String>,
}

/// What a service says it did, from its own ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Book {
    pub service: String,
    pub unit: String,
    pub opening: i64,
    pub balance: i64,
    pub held: i64,
    pub movements: Vec<Movement>,
    pub arithmetic_ok: bool,
}

/// What one saga did to one service.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Movement {
    pub saga_id: String,
    pub action_effects: u64,
    pub compensation_effects: u64,
    /// How many units one effect moved.
    pub amount: u64,
}

/// How a participant misbehaves, as far as the demo must know.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Switches {
    /// How much later than its call a late request arrives.
    pub late_ms: u64,
}

impl Status {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Stopped => "stopped",
        }
    }
}

impl Counts {
    /// Sagas that move on their own.
    pub(crate) fn moving(&self) -> usize {
        self.running + self.compensating
    }

    /// Sagas that have ended.
    pub(crate) fn verdicts(&self) -> usize {
        self.completed + self.compensated + self.stopped
    }

    /// Every saga there is.
    pub(crate) fn all(&self) -> usize {
        self.moving() + self.stuck + self.verdicts()
    }
}

impl OrderService {
    /// The order service at `url`, which may be out of order for as long as `patience` lasts.
    pub(crate) fn new(client: reqwest::Client, url: String, patience: Duration) -> Self {
        Self { client, url, patience, together: false }
    }

    /// The same order service, asked to write a row of each order in the transaction in which its
    /// saga starts.
    pub(crate) fn together(self) -> Self {
        Self { together: true, ..self }
    }

    async fn try_place(&self, key: &str, order: &Order) -> anyhow::Result<Answer> {
        let call = self.client.post(format!("{}/orders", self.url));
        let call = if self.together { call.query(&[("together", "true")]) } else { call };
        let response = call.header("Idempotency-Key", key).json(order).send().await?;
        let status = response.status();
        let body = response.text().await?;
        match status {
            StatusCode::ACCEPTED | StatusCode::OK => accepted(status, &body),
            StatusCode::CONFLICT => Ok(Answer::Conflict),
            _ if status.is_client_error() => Ok(Answer::Refused { status: status.as_u16(), body }),
            _ => Err(answered("POST /orders", status, &body)),
        }
    }
}

impl Shop for OrderService {
    async fn place(&self, key: &str, order: &Order) -> anyhow::Result<Answer> {
        until_clear(self.patience, || self.try_place(key, order)).await
    }
}

/// The JSON at an address; a call that fails is made again, one that is put off for as long as
/// `patience` lasts.
///
/// # Errors
/// When the service does not answer, answers with an error, or with other JSON than expected.
pub(crate) async fn get<T: DeserializeOwned>(
    client: &reqwest::Client,
    patience: Duration,
    url: &str,
) -> anyhow::Result<T> {
    until_clear(patience, || try_get(client, url)).await
}

/// As [`get`], asked once.
///
/// # Errors
/// As [`get`].
pub(crate) async fn try_get<T: DeserializeOwned>(
    client: &reqwest::Client,
    url: &str,
) -> anyhow::Result<T> {
    let call = client.get(url).send();
    let response = call.await.with_context(|| format!("GET {url} got no answer"))?;
    let status = response.status();
    let body = response.text().await.with_context(|| format!("GET {url} broke off"))?;
    if !status.is_success() {
        return Err(answered(&format!("GET {url}"), status, &body));
    }
    serde_json::from_str(&body).with_context(|| format!("GET {url} answered in an unknown form"))
}

/// An answer that is none, with the detail of its problem body where it has one.
pub(crate) fn answered(call: &str, status: StatusCode, body: &str) -> anyhow::Error {
    let problem = serde_json::from_str::<Value>(body).unwrap_or_default();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or(body);
    let text = format!("{call} answered {status}: {detail}");
    match status {
        StatusCode::SERVICE_UNAVAILABLE => NotNow(text).into(),
        _ => anyhow::Error::msg(text),
    }
}

/// Makes a call again and again, with growing pauses, until it gets a clear answer.
///
/// # Errors
/// When it gets none for as long as `patience` lasts.
pub(crate) async fn until_clear<T, F>(patience: Duration, call: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let (since, mut pause) = (Instant::now(), PAUSE);
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let put_off = error.is::<NotNow>() || error.is::<reqwest::Error>();
        let most = if put_off { patience } else { ERRORS_MAX };
        if since.elapsed() >= most {
            return Err(error.context(format!("no clear answer within {}", text::span(most))));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn accepted(status: StatusCode, body: &str) -> anyhow::Result<Answer> {
    #[derive(Deserialize)]
    struct Accepted {
        order_id: String,
    }
    let accepted: Accepted = serde_json::from_str(body)
        .with_context(|| format!("POST /orders answered {status} without an order_id: {body}"))?;
    Ok(Answer::Accepted { order_id: accepted.order_id, is_new: status == StatusCode::ACCEPTED })
}
