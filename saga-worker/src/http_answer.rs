//! What the answer of a participant over HTTP means.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use saga_core::{Failure, Payload};
use saga_participant::{Problem, headers};
use serde_json::value::RawValue;

/// Default for the largest answer read from a participant, in bytes. Larger ones leave the outcome unknown.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of an answer. Whoever reads a saga, in whatever language, has to be able to read it.
const ANSWER_DEPTH_MAX: usize = 64;
/// Delay when a participant says "not yet" without saying when.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// The statuses that reject, where nothing else is said.
const REJECTED_DEFAULT: [u16; 2] = [409, 422];
/// What stands in an answer in the place of a secret.
const MASK: &[u8] = b"***";
/// Shorter secrets are not looked for in answers: they would be found by chance.
const MASKED_BYTES_MIN: usize = 4;

/// How the answers to a call are read.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(crate) rejected: Arc<[u16]>,
    pub(crate) bytes_max: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self { rejected: REJECTED_DEFAULT.into(), bytes_max: ANSWER_BYTES_MAX }
    }
}

impl Answers {
    /// What an answer means; see the table in [`saga_participant`].
    pub(crate) async fn read(
        &self,
        mut response: Response,
        secrets: &[String],
    ) -> Result<Payload, Failure> {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
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
    secrets.fold(body, |body, secret| {
        // As it was sent, and as JSON writes it.
        let escaped = serde_json::to_string(secret).unwrap_or_default();
        let escaped = escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or(secret);
        without(without(body, secret.as_bytes()), escaped.as_bytes())
    })
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
    if Payload::depth_of(raw.get()) > ANSWER_DEPTH_MAX {
        let message =
            format!("processed, but its output is nested more than {ANSWER_DEPTH_MAX} deep");
        return Err(Failure::transient(message));
    }
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
pub(crate) fn describe(error: reqwest::Error) -> Failure {
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
