use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post as route;
use serde_json::json;

use super::super::api::OrderService;
use super::super::plan::{self, Order};
use super::*;

/// An order service in memory that keeps its promises except the one it is told to break.
#[derive(Clone, Default)]
struct Fake {
    orders: Arc<Mutex<HashMap<String, Order>>>,
    calls: Arc<Mutex<u32>>,
    breaks: Breaks,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Breaks {
    #[default]
    Nothing,
    /// Each call starts an order, whatever its key.
    ForgetsKeys,
    /// A known key is answered whatever the body.
    IgnoresBodies,
    /// Every third call gets a 500 after the order was taken.
    LosesAnswers,
    /// All orders get one saga.
    SharesSagas,
}

async fn take(State(fake): State<Fake>, headers: HeaderMap, Json(order): Json<Order>) -> Response {
    let mut calls = fake.calls.lock().unwrap();
    *calls += 1;
    let mut key = headers["Idempotency-Key"].to_str().unwrap().to_owned();
    if fake.breaks == Breaks::ForgetsKeys {
        key.push_str(&calls.to_string());
    }
    let mut orders = fake.orders.lock().unwrap();
    let known = orders.get(&key).cloned();
    if known.as_ref().is_some_and(|known| *known != order) && fake.breaks != Breaks::IgnoresBodies {
        return StatusCode::CONFLICT.into_response();
    }
    orders.entry(key.clone()).or_insert(order);
    if fake.breaks == Breaks::LosesAnswers && *calls % 3 == 0 {
        return (StatusCode::INTERNAL_SERVER_ERROR, "lost").into_response();
    }
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let id = if fake.breaks == Breaks::SharesSagas { "the-one".to_owned() } else { key };
    (status, Json(json!({"order_id": id, "status": "running"}))).into_response()
}

async fn post_to(breaks: Breaks, orders: u32) -> anyhow::Result<Posted> {
    let fake = Fake { breaks, ..Fake::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/orders", route(take)).with_state(fake);
    tokio::spawn(async move { axum::serve(listener, router).await });
    rustls::crypto::ring::default_provider().install_default().ok();
    let service =
        OrderService::new(super::super::api::client().unwrap(), url, std::time::Duration::ZERO);
    let (progress, through) = watch::channel(0);
    let posted = post_all(&service, plan::orders(1, orders), &progress).await;
    assert!(posted.is_err() || *through.borrow() == orders as usize);
    posted
}

#[tokio::test]
async fn an_honest_service_takes_each_order_once_however_often_it_is_posted() {
    let posted = post_to(Breaks::Nothing, 60).await.unwrap();
    assert_eq!(posted.accepted.len(), 60);
    assert_eq!(posted.repeated, 24);
    assert_eq!(posted.broken_promises, Vec::<String>::new());
    posted.check_any().unwrap();
}

#[tokio::test]
async fn a_service_that_forgets_keys_is_caught() {
    let posted = post_to(Breaks::ForgetsKeys, 20).await.unwrap();
    let broken = &posted.broken_promises;
    assert!(broken.iter().any(|b| b.contains("started two sagas")), "{broken:?}");
    assert!(broken.iter().any(|b| b.contains("with another body got")), "{broken:?}");
}

#[tokio::test]
async fn a_service_that_takes_another_body_under_a_used_key_is_caught() {
    let posted = post_to(Breaks::IgnoresBodies, 20).await.unwrap();
    let broken = &posted.broken_promises;
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken.iter().all(|b| b.contains("not a 409")), "{broken:?}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let posted = post_to(Breaks::LosesAnswers, 30).await.unwrap();
    assert_eq!(posted.accepted.len(), 30);
    assert_eq!(posted.broken_promises, Vec::<String>::new());
}

#[tokio::test]
async fn two_orders_that_share_a_saga_are_caught() {
    let posted = post_to(Breaks::SharesSagas, 3).await.unwrap();
    let broken = &posted.broken_promises;
    assert!(broken.iter().any(|b| b.contains("got one saga: the-one")), "{broken:?}");
}
