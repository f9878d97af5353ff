//! Sagas started over HTTP, as the clients of a daemon start them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use saga_worker::HttpParticipant;
use serde::Deserialize;

use crate::open::recorder::End;

/// How long a start that gets no answer is repeated under its key, which starts nothing twice. One that
/// has got through is asked after until the run gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one request may take: longer than the daemon waits for a verdict.
const REQUEST_MAX: Duration = Duration::from_secs(90);
/// Pause before a request is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of a daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    http: reqwest::Client,
    base: Arc<str>,
    start: Arc<str>,
    token: Option<Arc<str>>,
    /// What the keys of this run begin with.
    run: Arc<str>,
    repeats: Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct Saga {
    status: String,
}

#[derive(Deserialize)]
struct Breakers {
    breakers: Vec<BreakerState>,
}

/// A breaker as the daemon shows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BreakerState {
    pub(crate) participant: String,
    pub(crate) op: String,
    pub(crate) state: String,
}

impl Starter {
    pub(crate) fn new(
        base: &str,
        definition: &str,
        token: Option<&str>,
        run: &str,
    ) -> anyhow::Result<Self> {
        let http = client()?;
        let base = base.trim_end_matches('/');
        Ok(Self {
            http,
            base: base.into(),
            start: format!("{base}/v1/sagas/{definition}?wait=60s").into(),
            token: token.map(Into::into),
            run: run.into(),
            repeats: Arc::default(),
        })
    }

    /// Starts a saga and waits for its end. A request without an answer is made again.
    pub(crate) async fn place(&self, number: u64, input: Vec<u8>) -> End {
        let begun = Instant::now();
        let key = format!("{}order-{number}", self.run);
        loop {
            let problem = match self.request(&key, input.clone()).await {
                Ok(end) => return end,
                Err(problem) => problem,
            };
            if matches!(problem, End::NotStarted(_)) && begun.elapsed() > PATIENCE {
                return problem;
            }
            tokio::time::sleep(PAUSE).await;
            self.repeats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests were made again.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// `Err` where it is worth another try.
    async fn request(&self, key: &str, input: Vec<u8>) -> Result<End, End> {
        let mut request = self.http.post(&*self.start).header("Idempotency-Key", key);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.header("Content-Type", "application/json").body(input);
        let unanswered = |error: reqwest::Error| {
            let error = anyhow::Error::new(error.without_url());
            End::NotStarted(format!("no answer: {error:#}"))
        };
        let response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unanswered)?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
            let end = End::NotStarted(format!("{status}: {text}"));
            let again = matches!(status.as_u16(), 429 | 503);
            return if again { Err(end) } else { Ok(end) };
        }
        let saga: Saga = serde_json::from_slice(&body)
            .map_err(|error| End::NotStarted(format!("an answer that is no saga: {error}")))?;
        match saga.status.as_str() {
            "completed" => Ok(End::Completed),
            "compensated" => Ok(End::Compensated),
            "stopped" => Ok(End::Stopped),
            "stuck" => Ok(End::Alive("stuck".to_owned())),
            alive => Err(End::Alive(alive.to_owned())),
        }
    }

    /// The breakers of the daemon's worker.
    pub(crate) async fn breakers(&self) -> anyhow::Result<Vec<BreakerState>> {
        let request = self.http.get(format!("{}/v1/breakers", self.base));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let response = request.timeout(Duration::from_secs(1)).send().await?.error_for_status()?;
        let breakers: Breakers = serde_json::from_slice(&response.bytes().await?)?;
        Ok(breakers.breakers)
    }
}

/// A client without redirects and proxies.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    HttpParticipant::client_builder()
        .tls_certs_only(std::iter::empty())
        .timeout(REQUEST_MAX)
        .build()
        .context("the HTTP client cannot be built")
}

/// A service's book, as far as it is audited.
#[derive(Debug, Deserialize)]
pub(crate) struct Book {
    pub(crate) held: i64,
    pub(crate) arithmetic_ok: bool,
    pub(crate) movements: Vec<Movement>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Movement {
    pub(crate) saga_id: String,
    pub(crate) action_effects: i64,
    pub(crate) compensation_effects: i64,
}

/// Reads the books of services, by name.
pub(crate) async fn books(
    services: &BTreeMap<&'static str, String>,
) -> anyhow::Result<BTreeMap<&'static str, Book>> {
    let http = client()?;
    let mut books = BTreeMap::new();
    for (name, url) in services {
        let response = http.get(format!("{url}/books")).send().await?.error_for_status()?;
        let book = serde_json::from_slice(&response.bytes().await?);
        books.insert(*name, book.with_context(|| format!("the books of {name}"))?);
    }
    Ok(books)
}
