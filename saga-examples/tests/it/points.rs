//! Points are frozen and unfrozen, each at most once per saga.

use saga_examples::order::Order;
use saga_examples::points::Points;
use serde_json::json;

use crate::client::{Service, order};
use crate::place::{Kind, on_each_database};

on_each_database!(
    points_are_frozen_once_and_unfrozen_once,
    a_customer_without_enough_points_or_unknown_is_rejected,
    an_order_without_points_is_processed_without_an_effect,
);

async fn service<DB: Kind>() -> Service {
    Service::start::<Points, DB>("freeze-points").await
}

async fn points_are_frozen_once_and_unfrozen_once<DB: Kind>() {
    let points = service::<DB>().await;
    assert_eq!(points.books().await.opening, 1_000_000_000);
    let frozen = points.act("/freeze", "s", &order()).await;
    assert_eq!(
        frozen.output(),
        &json!({"freeze_id": 1, "customer": "customer-003", "points": 150})
    );
    assert_eq!(points.act("/freeze", "s", &order()).await, frozen);
    assert_eq!(points.books().await.held, 150);
    for _ in 0..2 {
        points.compensate("/unfreeze", "s", &order()).await.output();
    }
    assert_eq!(points.books().await.held, 0);
    assert_eq!(points.effects("s").await, (1, 1));
}

async fn a_customer_without_enough_points_or_unknown_is_rejected<DB: Kind>() {
    let points = service::<DB>().await;
    let poor = Order { customer: "customer-poor".to_owned(), ..order() };
    let reply = points.act("/freeze", "poor", &poor).await;
    assert!(reply.rejection().contains("150 wanted, 0 free"));
    let unknown = Order { customer: "customer-100".to_owned(), ..order() };
    let reply = points.act("/freeze", "unknown", &unknown).await;
    assert!(reply.rejection().contains("no customer `customer-100`"));
}

async fn an_order_without_points_is_processed_without_an_effect<DB: Kind>() {
    let points = service::<DB>().await;
    let none = Order { points: 0, customer: "customer-poor".to_owned(), ..order() };
    assert_eq!(points.act("/freeze", "s", &none).await.output()["points"], 0);
    points.compensate("/unfreeze", "s", &none).await.output();
    assert_eq!(points.books().await.movements, []);
}
