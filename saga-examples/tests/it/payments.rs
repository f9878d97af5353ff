//! A payment is captured at most once per saga.

use saga_examples::order::Order;
use saga_examples::payments::Payments;
use saga_participant::Op;
use serde_json::{Value, json};

use crate::client::{Service, order, reply};
use crate::place::{Kind, on_each_database};

on_each_database!(
    the_price_less_the_discount_is_captured_once,
    a_discount_above_the_price_captures_nothing,
    a_declined_card_is_rejected,
    a_call_without_the_output_of_the_coupon_step_is_malformed,
);

async fn service<DB: Kind>() -> Service {
    Service::start::<Payments, DB>("capture-payment").await
}

async fn the_price_less_the_discount_is_captured_once<DB: Kind>() {
    let payments = service::<DB>().await;
    for _ in 0..2 {
        let captured = payments.act("/capture", "s", &order()).await;
        assert_eq!(captured.output(), &json!({"payment_id": 1, "captured_cents": 4_499}));
    }
    let books = payments.books().await;
    assert_eq!((books.opening, books.balance, books.held), (0, -4_499, 4_499));
    assert_eq!(payments.effects("s").await, (1, 0));
}

async fn a_discount_above_the_price_captures_nothing<DB: Kind>() {
    let payments = service::<DB>().await;
    let cheap = Order { amount_cents: 300, ..order() };
    assert_eq!(payments.act("/capture", "s", &cheap).await.output()["captured_cents"], 0);
    assert_eq!(payments.books().await.movements, []);
}

async fn a_declined_card_is_rejected<DB: Kind>() {
    let payments = service::<DB>().await;
    let declined = Order { card: "card-declined".to_owned(), ..order() };
    let reply = payments.act("/capture", "s", &declined).await;
    assert!(reply.rejection().contains("declined"));
    assert_eq!(payments.books().await.held, 0);
}

async fn a_call_without_the_output_of_the_coupon_step_is_malformed<DB: Kind>() {
    let payments = service::<DB>().await;
    let request = payments.request("/capture", Op::Action, "s", &order()).build().unwrap();
    let mut call: Value =
        serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
    call["outputs"] = json!({});
    let request = payments.request("/capture", Op::Action, "s", &order()).json(&call);
    let malformed = reply(request.send().await.unwrap()).await.unwrap();
    assert_eq!((malformed.status, malformed.recorded), (400, false));
    assert!(malformed.body["detail"].as_str().unwrap().contains("redeem-coupon"));
    assert_eq!(payments.books().await.movements, []);
}
