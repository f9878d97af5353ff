//! Steps whose actions and compensations are HTTP calls in the participant protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode, Url};
use saga_core::{BoxFuture, Call, Failure, Op, Payload, Step, StepContext, TransientCause};
use saga_participant::{Problem, headers};
use serde::Serialize;
use serde_json::value::RawValue;

/// Largest answer read from a participant, in bytes. Larger ones leave the outcome unknown.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Delay when a participant says "not yet" without saying when.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// A service that takes part in sagas, reached over HTTP.
///
/// ```
/// use saga_core::{Definition, Step};
/// use saga_worker::HttpParticipant;
///
/// let inventory = HttpParticipant::new("inventory", "http://127.0.0.1:8081")?;
/// let payments = HttpParticipant::new("payments", "http://127.0.0.1:8082/v1")?;
/// let definition = Definition::new("buy", [
///     inventory.compensatable("reserve-stock", "reserve", "release")?,
///     payments.pivot("capture-payment", "capture")?,
/// ])?;
/// assert_eq!(definition.spec().steps[0].participant, "inventory");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpParticipant {
    name: Arc<str>,
    base: Url,
    client: reqwest::Client,
}

/// A participant that cannot be called as described.
#[derive(Debug, thiserror::Error)]
pub enum HttpParticipantError {
    /// The address is not a URL that can be called.
    #[error(
        "participant {participant}: {url:?} {why}: expected a URL such as http://127.0.0.1:8081"
    )]
    Url {
        /// The participant's name.
        participant: String,
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client could not be built.
    #[error("participant {participant}: the HTTP client cannot be built: {source}")]
    Client {
        /// The participant's name.
        participant: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl HttpParticipant {
    /// A participant at a base URL, to which the paths of its endpoints are added.
    ///
    /// Redirects are not followed and proxies of the environment not used: a call goes where it
    /// was meant to, or fails.
    ///
    /// # Errors
    /// [`HttpParticipantError`] naming the participant and what was wrong.
    pub fn new(name: impl Into<String>, base: &str) -> Result<Self, HttpParticipantError> {
        let participant = name.into();
        let faulty = |why: &str| HttpParticipantError::Url {
            participant: participant.clone(),
            url: base.to_owned(),
            why: why.to_owned(),
        };
        let with_slash = format!("{}/", base.trim_end_matches('/'));
        let base_url = Url::parse(&with_slash).map_err(|e| faulty(&format!("is no URL ({e})")))?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host_str().is_none() {
            return Err(faulty("is neither http nor https"));
        }
        if base_url.query().is_some() || base_url.fragment().is_some() {
            return Err(faulty("has a query or a fragment"));
        }
        // Only the first installation in a process counts; a program may have chosen another provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5));
        if base_url.scheme() == "http" {
            // No call leads to https from here, so the system's roots need not be read and parsed,
            // which would be the larger part of a worker's start.
            client = client.tls_certs_only(std::iter::empty());
        }
        let client = client.build().map_err(|source| HttpParticipantError::Client {
            participant: participant.clone(),
            source,
        })?;
        Ok(Self { name: participant.into(), base: base_url, client })
    }

    /// A compensatable step: `POST <base>/<action>`, undone by `POST <base>/<compensation>`.
    ///
    /// # Errors
    /// [`HttpParticipantError::Url`] when a path does not make a URL below the base.
    pub fn compensatable(
        &self,
        step: &str,
        action: &str,
        compensation: &str,
    ) -> Result<Step, HttpParticipantError> {
        let (action, compensation) = (self.endpoint(action)?, self.endpoint(compensation)?);
        let step = Step::compensatable_calls::<serde_json::Value>(step, action, compensation);
        Ok(step.participant(&*self.name))
    }

    /// A pivot: `POST <base>/<action>`.
    ///
    /// # Errors
    /// As [`HttpParticipant::compensatable`].
    pub fn pivot(&self, step: &str, action: &str) -> Result<Step, HttpParticipantError> {
        let step = Step::pivot_call::<serde_json::Value>(step, self.endpoint(action)?);
        Ok(step.participant(&*self.name))
    }

    /// A retriable step: `POST <base>/<action>`.
    ///
    /// # Errors
    /// As [`HttpParticipant::compensatable`].
    pub fn retriable(&self, step: &str, action: &str) -> Result<Step, HttpParticipantError> {
        let step = Step::retriable_call::<serde_json::Value>(step, self.endpoint(action)?);
        Ok(step.participant(&*self.name))
    }

    fn endpoint(&self, path: &str) -> Result<Endpoint, HttpParticipantError> {
        let faulty = |why: String| HttpParticipantError::Url {
            participant: self.name.to_string(),
            url: path.to_owned(),
            why,
        };
        let url = self.base.join(path.trim_start_matches('/'));
        let url = url.map_err(|error| faulty(format!("is no path ({error})")))?;
        let below = url.host() == self.base.host()
            && url.port() == self.base.port()
            && url.scheme() == self.base.scheme()
            && url.path().starts_with(self.base.path());
        if !below {
            return Err(faulty(format!("leads away from {}", self.base)));
        }
        Ok(Endpoint { client: self.client.clone(), url })
    }
}

/// One URL of a participant.
struct Endpoint {
    client: reqwest::Client,
    url: Url,
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

impl Call for Endpoint {
    fn call(&self, context: StepContext) -> BoxFuture<Result<Payload, Failure>> {
        let request = self.request(&context);
        Box::pin(async move {
            let exchange = async {
                let response = request?.send().await.map_err(describe)?;
                read(response).await
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

impl Endpoint {
    fn request(&self, context: &StepContext) -> Result<reqwest::RequestBuilder, Failure> {
        let outputs = context.outputs.iter().map(|output| (&*output.step, &output.value));
        let body = Body {
            saga_id: context.saga_id.to_string(),
            saga: &context.saga,
            step: &context.step,
            attempt: context.attempt,
            input: &context.input,
            outputs: outputs.collect(),
        };
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(headers::IDEMPOTENCY_KEY, context.idempotency_key().as_str())
            .header(headers::SAGA_ID, &body.saga_id)
            .header(headers::SAGA_STEP, &*context.step)
            .header(headers::SAGA_OP, op(context.op).as_str())
            .header(headers::SAGA_ATTEMPT, context.attempt);
        let request = match &context.traceparent {
            Some(traceparent) => request.header(headers::TRACEPARENT, traceparent),
            None => request,
        };
        Ok(request.body(serde_json::to_string(&body)?))
    }
}

fn op(op: Op) -> saga_participant::Op {
    match op {
        Op::Action => saga_participant::Op::Action,
        Op::Compensation => saga_participant::Op::Compensation,
    }
}

/// What an answer means; see the table in [`saga_participant`].
async fn read(response: Response) -> Result<Payload, Failure> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = body(response).await?;
    match status {
        status if status.is_success() => output(&body),
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(rejection(status, &headers, &body))
        }
        StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let after = retry_after(&headers).unwrap_or(RETRY_AFTER_DEFAULT);
            Err(Failure::not_yet(after, explain(status, &body)))
        }
        _ => Err(Failure::transient(explain(status, &body))),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            let message = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(Failure::transient(message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
