//! Participants inside this process: a ledger in memory, and the misbehaviour that was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use saga_core::Op;
use saga_examples::hang_up::HangUp;
use saga_examples::order::Order;
use saga_examples::service;
use saga_examples::switches::{Misbehaviour, Switches};
use saga_participant::{CallIdentity, SagaCall};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::ledger::{Answer, Ledger};
use super::order::{STEPS, number};

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Answered(Answer),
    /// Answered with an error, and not carried out.
    Failed,
    /// The connection broke off.
    HungUp,
}

/// All five.
#[derive(Debug, Default)]
pub(crate) struct Participants {
    pub(crate) ledger: Ledger,
    // A std mutex: held for a copy only.
    switches: Mutex<HashMap<&'static str, Switches>>,
}

impl Participants {
    pub(crate) fn set(&self, participant: &'static str, switches: Switches) {
        let mut all = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(participant, switches);
    }

    fn switches(&self, participant: &str) -> Option<Switches> {
        let all = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(participant).cloned()
    }

    /// Carries out a call for an order, or does to it what the switches decide.
    pub(crate) async fn call(
        &self,
        order: &str,
        identity: &CallIdentity,
        op: Op,
        attempt: u32,
    ) -> Option<Delivery> {
        let step = STEPS.iter().find(|step| step.name == identity.step)?;
        let number = number(order)?;
        let switches = self.switches(step.participant).unwrap_or_default();
        let carry_out = || Delivery::Answered(self.ledger.call(number, step.name, op));
        Some(match switches.decide(order, identity, attempt) {
            Some(Misbehaviour::Reject) => Delivery::Answered(self.ledger.reject(number, step.name)),
            Some(Misbehaviour::Slow) => {
                let answer = carry_out();
                tokio::time::sleep(Duration::from_millis(switches.slow_ms)).await;
                answer
            }
            Some(Misbehaviour::Drop) => {
                carry_out();
                Delivery::HungUp
            }
            Some(Misbehaviour::Down) => Delivery::HungUp,
            Some(Misbehaviour::ErrorBefore | Misbehaviour::ErrorAfter) => Delivery::Failed,
            None | Some(Misbehaviour::Late | Misbehaviour::Duplicate) => carry_out(),
        })
    }
}

/// Serves them over HTTP on a port of its own until `stop` fires, and says at which URL.
pub(crate) async fn serve(
    participants: Arc<Participants>,
    stop: CancellationToken,
) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(participants);
    tokio::spawn(service::serve(listener, router, stop));
    Ok(url)
}

async fn answer(
    State(participants): State<Arc<Participants>>,
    ConnectInfo(hang_up): ConnectInfo<HangUp>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let call = match SagaCall::<Order>::read(&headers, &body) {
        Ok(call) => call,
        Err(problem) => return problem.into_response(),
    };
    let identity = call.identity();
    let op = match identity.op {
        saga_participant::Op::Action => Op::Action,
        saga_participant::Op::Compensation => Op::Compensation,
    };
    match participants.call(&call.input.order, &identity, op, call.attempt).await {
        Some(Delivery::Answered(Answer::Processed)) => {
            axum::Json(serde_json::json!({ "done": true })).into_response()
        }
        Some(Delivery::Answered(Answer::Rejected)) => StatusCode::CONFLICT.into_response(),
        Some(Delivery::Failed) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Delivery::HungUp) => {
            hang_up.now();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
