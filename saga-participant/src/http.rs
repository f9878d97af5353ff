//! axum: a handler takes a [`SagaCall`] and returns an [`Answer`].

use std::fmt::Display;
use std::ops::Deref;
use std::str::FromStr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::call::{Call, CallIdentity, Op};
use crate::headers;
use crate::problem::{self, Problem};

/// A call of the engine: body and headers, checked against each other. Use it as the last argument
/// of a handler; it derefs to its [`Call`].
///
/// A request that breaks the protocol is answered with a 400 problem that names the header or
/// field, its value and what was expected. (Never 422: that would be a rejection by the business.)
#[derive(Debug, Clone)]
pub struct SagaCall<I> {
    /// The operation, from `X-Saga-Op`.
    pub op: Op,
    /// The body.
    pub call: Call<I>,
}

impl<I> SagaCall<I> {
    /// What this call is one attempt of; the barrier wants it.
    #[must_use]
    pub fn identity(&self) -> CallIdentity {
        self.call.identity(self.op)
    }

    /// Reads a call from the headers and the body of a request.
    ///
    /// # Errors
    /// The 400 problem described at [`SagaCall`].
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<SagaCall<I>, Problem>
    where
        I: DeserializeOwned,
    {
        let op = parsed(headers, headers::SAGA_OP)?;
        let Json(call) = Json::<Call<I>>::from_bytes(body).map_err(|rejection| {
            problem::malformed_call(format!(
                "{}. Expected {{saga_id, saga, step, attempt, input, outputs}} with the input \
                 that this endpoint documents.",
                rejection.body_text(),
            ))
        })?;
        if call.attempt == 0 {
            return Err(problem::malformed_call("`attempt` is 0; attempts are counted from 1"));
        }
        let identity = call.identity(op);
        agree(headers, headers::SAGA_ID, &call.saga_id)?;
        agree(headers, headers::SAGA_STEP, &call.step)?;
        agree(headers, headers::SAGA_ATTEMPT, &call.attempt.to_string())?;
        agree(headers, headers::IDEMPOTENCY_KEY, &identity.idempotency_key())?;
        Ok(SagaCall { op, call })
    }
}

impl<I> Deref for SagaCall<I> {
    type Target = Call<I>;

    fn deref(&self) -> &Call<I> {
        &self.call
    }
}

impl<I, S> FromRequest<S> for SagaCall<I>
where
    I: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state).await.map_err(|rejection| Problem {
            status: Some(rejection.status().as_u16()),
            ..problem::malformed_call(rejection.body_text())
        })?;
        SagaCall::read(&headers, &body)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Problem> {
    let value = headers.get(name).ok_or_else(|| {
        problem::malformed_call(format!("the header `{name}` is missing; every call carries it"))
    })?;
    value.to_str().map_err(|_| {
        problem::malformed_call(format!(
            "the header `{name}` is {value:?}; expected visible ASCII characters"
        ))
    })
}

fn parsed<T>(headers: &HeaderMap, name: &str) -> Result<T, Problem>
where
    T: FromStr<Err: Display>,
{
    text(headers, name)?
        .parse()
        .map_err(|fault| problem::malformed_call(format!("the header `{name}`: {fault}")))
}

fn agree(headers: &HeaderMap, name: &str, expected: &str) -> Result<(), Problem> {
    let value = text(headers, name)?;
    if value == expected {
        return Ok(());
    }
    Err(problem::malformed_call(format!(
        "the header `{name}` is `{value}`, but by the body it must be `{expected}`"
    )))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let content_type =
            if self.is_processed() { "application/json" } else { problem::CONTENT_TYPE };
        let status = StatusCode::from_u16(self.status())
            .expect("answers are made with the statuses 200, 409, 422 and 503 only");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], self.body().to_owned())
            .into_response();
        if self.is_recorded() {
            response.headers_mut().insert(
                HeaderName::from_static(headers::SAGA_BARRIER),
                HeaderValue::from_static(headers::RECORDED),
            );
        }
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, problem::CONTENT_TYPE)], self.to_json()).into_response()
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "rusqlite"))]
impl IntoResponse for crate::barrier::BarrierError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
