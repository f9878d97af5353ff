//! Carries the misbehaviour out, between the network and the business.
//!
//! It is a middleware around the endpoints of a participant, so the business code knows nothing of
//! it: to the business a late or doubled request looks exactly as the network would bring it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use saga_participant::{Answer, Problem, Refusal, SagaCall, problem};
use tokio::time::sleep;

use crate::guard::Guarded;
use crate::hang_up::HangUp;
use crate::order::Order;
use crate::switches::{Misbehaviour, Switches};

/// The largest body of a call, in bytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The switches of a running service, to be read and set while it runs.
#[derive(Debug, Clone)]
// A std mutex: it is held for a copy only, never across an await.
pub struct SwitchBoard(Arc<Mutex<Switches>>);

impl SwitchBoard {
    /// A board that starts with `switches`.
    #[must_use]
    pub fn new(switches: Switches) -> Self {
        SwitchBoard(Arc::new(Mutex::new(switches)))
    }

    fn switches(&self) -> Switches {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The handler of `GET /switches`.
pub async fn show(State(board): State<SwitchBoard>) -> Json<Switches> {
    Json(board.switches())
}

/// The handler of `PUT /switches`: replaces them all and shows them; 400 for a body that is none.
pub async fn set(State(board): State<SwitchBoard>, body: Bytes) -> Response {
    match Json::<Switches>::from_bytes(&body) {
        Ok(Json(switches)) => {
            *board.0.lock().unwrap_or_else(PoisonError::into_inner) = switches.clone();
            Json(switches).into_response()
        }
        Err(rejection) => {
            let detail = format!(
                "{}. Expected for instance {}.",
                rejection.body_text(),
                r#"{"faults": "wild", "seed": 1, "slow_ms": 3000, "late_ms": 1500, "always": null, "mix": {"error": 10}}"#
            );
            malformed("The switches are not understood", detail).into_response()
        }
    }
}

/// The middleware: lets a call through to the business, or does to it what the switches decide.
/// The barrier records a rejection.
pub async fn misbehave<DB: Guarded>(
    State((board, barrier)): State<(SwitchBoard, DB::Barrier)>,
    ConnectInfo(hang_up): ConnectInfo<HangUp>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => {
            let detail = format!("the body cannot be read up to {BODY_BYTES_MAX} bytes: {error}");
            return malformed("The body cannot be read", detail).into_response();
        }
    };
    let request = || Request::from_parts(parts.clone(), Body::from(body.clone()));
    let Ok(call) = SagaCall::<Order>::read(&parts.headers, &body) else {
        // Not a call: the business's own extractor says what is wrong with it.
        return next.run(request()).await;
    };

    let switches = board.switches();
    let (identity, attempt) = (call.identity(), call.attempt);
    let Some(misbehaviour) = switches.decide(&call.input.order, &identity, attempt) else {
        return next.run(request()).await;
    };
    tracing::info!(call = %identity, attempt, ?misbehaviour, "misbehaving");
    match misbehaviour {
        Misbehaviour::Slow => {
            let answer = next.run(request()).await;
            sleep(Duration::from_millis(switches.slow_ms)).await;
            answer
        }
        Misbehaviour::Drop => {
            next.run(request()).await;
            hang_up.now();
            failed("the connection breaks before this is sent")
        }
        Misbehaviour::ErrorBefore => failed("a switch failed this call before the business saw it"),
        Misbehaviour::ErrorAfter => {
            next.run(request()).await;
            failed("a switch failed this call after the business had answered it")
        }
        Misbehaviour::Down => {
            hang_up.now();
            failed("the connection breaks before this is sent")
        }
        Misbehaviour::Late => {
            deliver_later(next, request(), switches.late_ms);
            if switches.late_hangs_up(&call.input.order, &identity, attempt) {
                hang_up.now();
            }
            Answer::not_yet("a switch delays this call", Duration::from_secs(1)).into_response()
        }
        Misbehaviour::Reject => {
            let rejection = async |_tx: &mut DB::Tx| -> Result<(), Refusal> {
                Err(Refusal::rejected("a switch rejects this call"))
            };
            DB::act(&barrier, &identity, rejection).await.into_response()
        }
        Misbehaviour::Duplicate => {
            let (first, _second) = tokio::join!(next.clone().run(request()), next.run(request()));
            first
        }
    }
}

/// Hands the request to the business after `late_ms`, with nobody there to hear the answer.
fn deliver_later(next: Next, request: Request, late_ms: u64) {
    tokio::spawn(async move {
        sleep(Duration::from_millis(late_ms)).await;
        next.run(request).await;
    });
}

fn failed(detail: &str) -> Response {
    Problem::new(problem::FAILED, "The participant failed", 500, detail).into_response()
}

fn malformed(title: &str, detail: String) -> Problem {
    Problem::new(problem::MALFORMED_CALL, title, 400, detail)
}
