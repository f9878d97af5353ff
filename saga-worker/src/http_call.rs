//! One call to a participant over HTTP: the request, and what its answer means.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use saga_core::{BoxFuture, Call, Failure, Op, Payload, StepContext, TransientCause};
use saga_participant::{Problem, headers};
use serde::Serialize;
use serde_json::value::RawValue;

/// Default for the largest answer read from a participant, in bytes. Larger ones leave the outcome unknown.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Delay when a participant says "not yet" without saying when.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// The statuses that reject, where nothing else is said.
const REJECTED_DEFAULT: [u16; 2] = [409, 422];
/// What stands in an answer in the place of a secret.
const MASK: &[u8] = b"***";
/// Shorter secrets are not looked for in answers: they would be found by chance.
const MASKED_BYTES_MIN: usize = 4;

/// A call to an endpoint of a participant, made by [`HttpParticipant::call`].
///
/// Without changes it is a `POST` in the participant protocol. For a participant that speaks
/// otherwise, say with which method, which request and which statuses.
///
/// ```
/// use saga_worker::HttpParticipant;
///
/// let warehouse = HttpParticipant::new("warehouse", "https://warehouse.example/api")?;
/// let reserve = warehouse.call("reservations")?.rejected_on([404, 409]).answer_bytes_max(16 * 1024);
/// let release = warehouse.call("reservations/release")?;
/// let step = warehouse.compensatable_calls("reserve-stock", reserve, release);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`HttpParticipant::call`]: crate::HttpParticipant::call
#[derive(Clone)]
pub struct HttpCall {
    client: reqwest::Client,
    base: Arc<Url>,
    url: Url,
    method: Method,
    answers: Answers,
    mapping: Option<Arc<dyn MapRequest>>,
}

/// How the answers to a call are read.
#[derive(Clone)]
struct Answers {
    rejected: Arc<[u16]>,
    bytes_max: usize,
}

/// Changes the request of the participant protocol into the one that a participant understands.
pub trait MapRequest: Send + Sync + 'static {
    /// Changes the request. It is called for every attempt.
    ///
    /// # Errors
    /// The [`Failure`] of the attempt, for which nothing was sent.
    fn map(&self, context: &StepContext, request: &mut HttpRequest) -> Result<(), Failure>;
}

/// A request on its way out, as a [`MapRequest`] may change it.
///
/// The headers of the protocol are added afterwards, so no mapping can replace them.
pub struct HttpRequest {
    base: Arc<Url>,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
    secrets: Vec<String>,
}

impl HttpRequest {
    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends it to another URL of the participant.
    ///
    /// # Errors
    /// When the URL is not below the participant's base: nothing was sent, so it is a rejection.
    pub fn set_url(&mut self, url: Url) -> Result<(), Failure> {
        if !is_below(&self.base, &url) {
            return Err(Failure::rejected("the request cannot be made: its URL leads away"));
        }
        self.url = url;
        Ok(())
    }

    /// Adds a header, in the place of one of the same name.
    pub fn set_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Replaces the JSON body.
    pub fn set_body(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    /// Names a secret that was put into the request: where the answer repeats it, it is masked.
    pub fn keep_secret(&mut self, secret: impl Into<String>) {
        self.secrets.push(secret.into());
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither values nor the body: they may carry what does not belong into a log.
        f.debug_struct("HttpRequest").field("path", &self.url.path()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall")
            .field("method", &self.method)
            .field("url", &self.url.as_str())
            .field("rejected", &self.answers.rejected)
            .finish_non_exhaustive()
    }
}

impl HttpCall {
    /// A call to `url`. `None` when that is not below `base`.
    pub(crate) fn new(client: reqwest::Client, base: Url, url: Url) -> Option<Self> {
        is_below(&base, &url).then(|| Self {
            client,
            base: base.into(),
            url,
            method: Method::POST,
            answers: Answers { rejected: REJECTED_DEFAULT.into(), bytes_max: ANSWER_BYTES_MAX },
            mapping: None,
        })
    }

    /// The method of the request. Default: `POST`.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// The statuses by which the participant rejects. Default: 409 and 422.
    ///
    /// Whoever rejects vouches that the attempt had no effect.
    #[must_use]
    pub fn rejected_on(mut self, statuses: impl IntoIterator<Item = u16>) -> Self {
        self.answers.rejected = statuses.into_iter().collect();
        self
    }

    /// The largest answer that is read, in bytes. A larger one leaves the outcome unknown.
    /// Default: 1 MiB.
    #[must_use]
    pub fn answer_bytes_max(mut self, bytes: usize) -> Self {
        self.answers.bytes_max = bytes;
        self
    }

    /// Changes every request on its way out.
    #[must_use]
    pub fn map(mut self, mapping: impl MapRequest) -> Self {
        self.mapping = Some(Arc::new(mapping));
        self
    }

    /// The request of the protocol, changed by the mapping, and the secrets that are in it.
    fn request(
        &self,
        context: &StepContext,
    ) -> Result<(reqwest::RequestBuilder, Vec<String>), Failure> {
        let body = serde_json::to_vec(&protocol_body(context))?;
        let mut request = HttpRequest {
            base: self.base.clone(),
            url: self.url.clone(),
            headers: HeaderMap::new(),
            body,
            secrets: Vec::new(),
        };
        if let Some(mapping) = &self.mapping {
            mapping.map(context, &mut request)?;
        }
        protocol_headers(context, &mut request.headers)?;
        let builder = self.client.request(self.method.clone(), request.url);
        Ok((builder.headers(request.headers).body(request.body), request.secrets))
    }
}

impl Call for HttpCall {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let (request, answers) = (self.request(&context), self.answers.clone());
        Box::pin(async move {
            let exchange = async {
                let (request, secrets) = request?;
                let response = request.send().await.map_err(describe)?;
                answers.read(response, &secrets).await
            };
            tokio::select! {
                biased;
                // First, so that nothing more is sent once the call was called off.
                () = context.cancellation.cancelled() => {
                    Err(Failure::unknown(TransientCause::Cancelled, "the request was dropped"))
                }
                answer = exchange => answer,
            }
        })
    }
}

/// Whether a URL is of the same server as the base, and its path below the base's.
fn is_below(base: &Url, url: &Url) -> bool {
    url.host() == base.host()
        && url.port() == base.port()
        && url.scheme() == base.scheme()
        && url.path().starts_with(base.path())
}

/// The JSON body of a call; the same shape as [`saga_participant::Call`], without parsing what passes through.
#[derive(Serialize)]
struct Body<'a> {
    saga_id: String,
    saga: &'a str,
    step: &'a str,
    attempt: u32,
    input: &'a Payload,
    outputs: BTreeMap<&'a str, &'a Payload>,
}

fn protocol_body(context: &StepContext) -> Body<'_> {
    let outputs = context.outputs.iter().map(|output| (&*output.step, &output.value));
    Body {
        saga_id: context.saga_id.to_string(),
        saga: &context.saga,
        step: &context.step,
        attempt: context.attempt,
        input: &context.input,
        outputs: outputs.collect(),
    }
}

fn protocol_headers(context: &StepContext, to: &mut HeaderMap) -> Result<(), Failure> {
    let mut insert = |name: &'static str, value: &str| -> Result<(), Failure> {
        to.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        Ok(())
    };
    insert("content-type", "application/json")?;
    insert(headers::IDEMPOTENCY_KEY, context.idempotency_key().as_str())?;
    insert(headers::SAGA_ID, &context.saga_id.to_string())?;
    insert(headers::SAGA_STEP, &context.step)?;
    insert(headers::SAGA_OP, op(context.op).as_str())?;
    insert(headers::SAGA_ATTEMPT, &context.attempt.to_string())?;
    match &context.traceparent {
        Some(traceparent) => insert(headers::TRACEPARENT, traceparent),
        None => Ok(()),
    }
}

fn op(op: Op) -> saga_participant::Op {
    match op {
        Op::Action => saga_participant::Op::Action,
        Op::Compensation => saga_participant::Op::Compensation,
    }
}

impl Answers {
    /// What an answer means; see the table in [`saga_participant`].
    async fn read(&self, response: Response, secrets: &[String]) -> Result<Payload, Failure> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = masked(self.body(response).await?, secrets);
        match status {
            status if status.is_success() => output(&body),
            status if self.rejected.contains(&status.as_u16()) => {
                Err(rejection(status, &headers, &body))
            }
            StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE => {
                let after = retry_after(&headers).unwrap_or(RETRY_AFTER_DEFAULT);
                Err(Failure::not_yet(after, explain(status, &body)))
            }
            _ => Err(Failure::transient(explain(status, &body))),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(describe)? {
            if body.len() + chunk.len() > self.bytes_max {
                let message = format!("the answer is longer than {} bytes", self.bytes_max);
                return Err(Failure::transient(message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The body without the secrets of the request: outputs and reasons go into the log.
fn masked(body: Vec<u8>, secrets: &[String]) -> Vec<u8> {
    let secrets = secrets.iter().filter(|secret| secret.len() >= MASKED_BYTES_MIN);
    secrets.fold(body, |body, secret| without(body, secret.as_bytes()))
}

fn without(body: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let find = |from: usize| {
        let found = body[from..].windows(secret.len()).position(|window| window == secret);
        found.map(|at| from + at)
    };
    let Some(mut at) = find(0) else { return body };
    let (mut clean, mut from) = (Vec::with_capacity(body.len()), 0);
    loop {
        clean.extend_from_slice(&body[from..at]);
        clean.extend_from_slice(MASK);
        from = at + secret.len();
        match find(from) {
            Some(next) => at = next,
            None => break,
        }
    }
    clean.extend_from_slice(&body[from..]);
    clean
}

/// An empty body is `null`; anything that is not JSON leaves the outcome unknown.
fn output(body: &[u8]) -> Result<Payload, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Payload::null());
    }
    let unreadable =
        |why: String| Failure::transient(format!("processed, but its output is not JSON: {why}"));
    let raw: &RawValue =
        serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    Payload::encode(raw).map_err(|error| unreadable(error.to_string()))
}

fn rejection(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let recorded =
        headers.get(headers::SAGA_BARRIER).is_some_and(|value| value == headers::RECORDED);
    let reason = explain(status, body);
    if recorded { Failure::rejected_for_good(reason) } else { Failure::rejected(reason) }
}

/// The problem's words, or the status and the beginning of the body.
fn explain(status: StatusCode, body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    if let Some(reason) = problem.as_ref().and_then(Problem::reason) {
        return reason.to_owned();
    }
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    if text.is_empty() {
        format!("answered {status}")
    } else {
        format!("answered {status}: {text}")
    }
}

/// `Retry-After` in seconds. Its date form would need the participant's clock to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(headers::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with its causes, without the URL, which may carry what does not belong into a log.
fn describe(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    Failure::transient(text)
}
