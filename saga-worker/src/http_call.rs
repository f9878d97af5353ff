//! One call to a participant over HTTP: the request, and the one place where it is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use saga_core::{BoxFuture, Call, Failure, Op, Payload, StepContext, TransientCause};
use saga_participant::headers;
use serde::Serialize;

use crate::http_answer::{Answers, describe};

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
            answers: Answers::default(),
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
