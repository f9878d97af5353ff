//! A receiver of webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::PATIENCE;

/// The headers and the body of a request.
pub(super) type Delivery = (BTreeMap<String, String>, String);

/// A receiver of webhooks, which answers as it is told and 204 otherwise.
#[derive(Clone, Default)]
pub(super) struct Receiver {
    /// Each delivery, refused ones included: its headers and its body.
    got: Arc<Mutex<Vec<Delivery>>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    /// While it is on, deliveries are taken and not answered.
    held: Arc<watch::Sender<bool>>,
}

impl Receiver {
    pub(super) async fn serve(&self) -> Url {
        self.serve_at("127.0.0.1:0").await
    }

    pub(super) async fn serve_at(&self, address: &str) -> Url {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook?token=hush", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }

    /// The answers to the next deliveries: a status, with `Retry-After: 0` or where to go.
    pub(super) fn answer(&self, answers: &[(u16, &'static str)]) {
        self.answers.lock().unwrap().extend(answers);
    }

    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(super) fn let_go(&self) {
        self.held.send_replace(false);
    }

    pub(super) fn got(&self) -> Vec<Delivery> {
        self.got.lock().unwrap().clone()
    }

    /// The events of all deliveries: type and id.
    pub(super) fn events(&self) -> Vec<(String, String)> {
        let event = |(_, body): (_, String)| {
            let event: Value = serde_json::from_str(&body).unwrap();
            let word = event["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
            (word, event["id"].as_str().unwrap().to_owned())
        };
        self.got().into_iter().map(event).collect()
    }

    pub(super) async fn until(&self, deliveries: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.got().len() < deliveries {
            assert!(Instant::now() < deadline, "only {} deliveries", self.got().len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> Response {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    receiver.got.lock().unwrap().push((headers, body));
    receiver.held.subscribe().wait_for(|is_held| !is_held).await.unwrap();
    match receiver.answers.lock().unwrap().pop_front() {
        None => StatusCode::NO_CONTENT.into_response(),
        Some((status, place)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::RETRY_AFTER, "0"), (header::LOCATION, place)]).into_response()
        }
    }
}
