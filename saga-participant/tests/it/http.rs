//! The extractor and the responses, as an engine sees them.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use saga_participant::{Answer, CallIdentity, Op, Problem, SagaCall, headers, problem};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Sqlite;

use crate::shop::{Shop, act};

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    sku: String,
    quantity: u32,
}

fn body() -> Value {
    json!({
        "saga_id": "s-1", "saga": "place-order", "step": "reserve", "attempt": 2,
        "input": {"sku": "SKU-004", "quantity": 3}, "outputs": {},
    })
}

/// A good call, but with the header `name` changed to `value`; `None` leaves it out.
fn request(body: &Value, name: &str, value: Option<&str>) -> Request {
    let good = [
        (headers::SAGA_ID, "s-1"),
        (headers::SAGA_STEP, "reserve"),
        (headers::SAGA_OP, "action"),
        (headers::SAGA_ATTEMPT, "2"),
        (headers::IDEMPOTENCY_KEY, "s-1:reserve:action"),
    ];
    let mut request = Request::post("/reserve");
    for (header, good) in good {
        match value {
            Some(value) if header == name => request = request.header(header, value),
            None if header == name => {}
            _ => request = request.header(header, good),
        }
    }
    request.body(Body::from(body.to_string())).unwrap()
}

async fn refused(request: Request) -> String {
    let refusal = SagaCall::<Order>::from_request(request, &()).await.unwrap_err();
    let (status, problem) = read(refusal.into_response()).await;
    assert_eq!(status, 400, "never 422, which would be a rejection by the business");
    assert_eq!(problem.kind.as_deref(), Some(problem::MALFORMED_CALL));
    problem.detail.unwrap()
}

async fn read(response: Response) -> (u16, Problem) {
    assert_eq!(response.headers()[CONTENT_TYPE], problem::CONTENT_TYPE);
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_good_call_is_read_with_its_types() {
    let call = SagaCall::<Order>::from_request(request(&body(), "", None), &()).await.unwrap();
    assert_eq!(call.input, Order { sku: "SKU-004".to_owned(), quantity: 3 });
    assert_eq!(call.attempt, 2);
    let identity =
        CallIdentity { saga_id: "s-1".to_owned(), step: "reserve".to_owned(), op: Op::Action };
    assert_eq!(call.identity(), identity);
}

#[tokio::test]
async fn a_header_that_is_missing_or_disagrees_with_the_body_is_named() {
    for name in [
        headers::SAGA_ID,
        headers::SAGA_STEP,
        headers::SAGA_OP,
        headers::SAGA_ATTEMPT,
        headers::IDEMPOTENCY_KEY,
    ] {
        let missing = refused(request(&body(), name, None)).await;
        assert!(missing.contains(name) && missing.contains("missing"), "{missing}");
        let wrong = refused(request(&body(), name, Some("wrong"))).await;
        assert!(wrong.contains(name) && wrong.contains("`wrong`"), "{wrong}");
    }
    let key = refused(request(&body(), headers::SAGA_OP, Some("compensation"))).await;
    assert!(key.contains("must be `s-1:reserve:compensation`"), "{key}");
}

#[tokio::test]
async fn a_field_of_another_type_is_named_with_its_value_and_what_was_expected() {
    let mut wrong = body();
    wrong["input"]["quantity"] = json!("three");
    let fault = refused(request(&wrong, "", None)).await;
    for part in ["input.quantity", "\"three\"", "u32"] {
        assert!(fault.contains(part), "{part}: {fault}");
    }

    let mut missing = body();
    missing.as_object_mut().unwrap().remove("step");
    let fault = refused(request(&missing, "", None)).await;
    assert!(fault.contains("`step`"), "{fault}");

    let mut zero = body();
    zero["attempt"] = json!(0);
    let fault = refused(request(&zero, headers::SAGA_ATTEMPT, Some("0"))).await;
    assert!(fault.contains("`attempt` is 0"), "{fault}");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_malformed_call() {
    let mut request = request(&body(), "", None);
    *request.body_mut() = Body::from("sku=SKU-004");
    let fault = refused(request).await;
    assert!(fault.contains("line 1"), "{fault}");
}

#[tokio::test]
async fn a_body_past_the_limit_is_a_problem_of_its_own_status() {
    let mut huge = body();
    huge["input"]["sku"] = json!("S".repeat(3_000_000));
    let refusal = SagaCall::<Order>::from_request(request(&huge, "", None), &()).await.unwrap_err();
    let (status, problem) = read(refusal.into_response()).await;
    assert_eq!(status, 413);
    assert!(problem.reason().unwrap().contains("length limit"), "{problem}");
}

#[tokio::test]
async fn an_answer_of_the_barrier_says_that_it_is_recorded() {
    let shop = Shop::<Sqlite>::open().await;
    let response = act(&shop.barrier, "s").await.into_response();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[headers::SAGA_BARRIER], headers::RECORDED);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body = to_bytes(response.into_body(), 1_000).await.unwrap();
    assert_eq!(body.as_ref(), br#""done for s""#);
}

#[tokio::test]
async fn an_answer_without_the_barrier_does_not_claim_to_be_recorded() {
    let response = Answer::rejected("out of stock").into_response();
    assert!(!response.headers().contains_key(headers::SAGA_BARRIER));
    let (status, problem) = read(response).await;
    assert_eq!((status, problem.reason()), (422, Some("out of stock")));
}

#[tokio::test]
async fn not_yet_rounds_the_wait_up_to_whole_seconds() {
    let response = Answer::not_yet("locked", Duration::from_millis(1_500)).into_response();
    assert_eq!(response.headers()[RETRY_AFTER], "2");
    assert_eq!(read(response).await.0, 503);
}

#[tokio::test]
async fn a_barrier_error_is_a_problem_response() {
    let shop = Shop::<Sqlite>::open().await;
    let wrong_op = shop
        .barrier
        .compensate(&crate::shop::action("s"), async |_tx, (): ()| Ok(()))
        .await
        .into_response();
    let (status, problem) = read(wrong_op).await;
    assert_eq!(status, 400);
    assert!(problem.reason().unwrap().contains("s:reserve:action"), "{problem}");
}
