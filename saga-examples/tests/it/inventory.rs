//! Stock is reserved and released, each at most once per saga.

use saga_examples::inventory;
use saga_examples::order::Order;
use serde_json::json;

use crate::client::{Service, order};

async fn service() -> Service {
    Service::start("reserve-stock", inventory::router).await
}

#[tokio::test]
async fn stock_is_reserved_once_and_released_once() {
    let inventory = service().await;
    let opening = inventory.books().await;
    assert_eq!((opening.opening, opening.held), (10_000_005, 0));
    assert_eq!(opening.unit, "units of stock");

    let reserved = inventory.act("/reserve", "s", &order()).await;
    assert_eq!(reserved.output(), &json!({"reservation_id": 1, "sku": "SKU-004", "quantity": 2}));
    assert_eq!(inventory.act("/reserve", "s", &order()).await, reserved);
    assert_eq!(inventory.books().await.held, 2);

    let released = inventory.compensate("/release", "s", &order()).await;
    assert_eq!(released.output(), &json!(null));
    assert_eq!(inventory.compensate("/release", "s", &order()).await, released);
    let books = inventory.books().await;
    assert_eq!((books.held, books.balance), (0, books.opening));
    let movement = &books.movements[0];
    assert_eq!(
        (movement.action_effects, movement.compensation_effects, movement.amount),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn what_is_not_there_cannot_be_reserved() {
    let inventory = service().await;
    let unknown = Order { sku: "SKU-999".to_owned(), ..order() };
    let reply = inventory.act("/reserve", "unknown", &unknown).await;
    assert!(reply.rejection().contains("no SKU `SKU-999`"));

    let nothing = Order { quantity: 0, ..order() };
    assert!(inventory.act("/reserve", "none", &nothing).await.rejection().contains("at least 1"));

    let rare = Order { sku: "SKU-RARE".to_owned(), quantity: 4, ..order() };
    inventory.act("/reserve", "first", &rare).await.output();
    let reply = inventory.act("/reserve", "second", &rare).await;
    assert!(reply.rejection().contains("4 wanted, 1 left"));
    // Released stock can be reserved again, but the answer to the second saga is final.
    inventory.compensate("/release", "first", &rare).await.output();
    assert_eq!(inventory.act("/reserve", "second", &rare).await, reply);
    inventory.act("/reserve", "third", &rare).await.output();
}

#[tokio::test]
async fn an_action_that_comes_after_its_compensation_is_refused() {
    let inventory = service().await;
    inventory.compensate("/release", "s", &order()).await.output();
    let dangling = inventory.act("/reserve", "s", &order()).await;
    assert_eq!((dangling.status, dangling.recorded), (409, true));
    assert!(dangling.body["type"].as_str().unwrap().ends_with("/dangling-action"));
    assert_eq!(inventory.effects("s").await, (0, 0));
}

#[tokio::test]
async fn a_call_at_the_wrong_endpoint_and_a_body_that_is_no_order_are_malformed() {
    let inventory = service().await;
    let wrong_endpoint = inventory.act("/release", "s", &order()).await;
    assert_eq!((wrong_endpoint.status, wrong_endpoint.recorded), (400, false));
    assert!(wrong_endpoint.body["detail"].as_str().unwrap().contains("s:reserve-stock:action"));

    let no_call = inventory.http.post(inventory.url("/reserve")).body("{}").send().await.unwrap();
    assert_eq!(no_call.status(), 400);
    assert!(no_call.text().await.unwrap().contains("x-saga-op"));
    assert_eq!(inventory.books().await.movements, []);
}

#[tokio::test]
async fn the_service_tells_that_it_is_up() {
    let inventory = service().await;
    let health = inventory.http.get(inventory.url("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn a_service_started_again_on_its_database_remembers_everything() {
    let first = service().await;
    let reserved = first.act("/reserve", "s", &order()).await;
    let again = first.start_again(inventory::router).await;
    assert_eq!(again.act("/reserve", "s", &order()).await, reserved);
    assert_eq!(again.books().await, first.books().await);
    assert_eq!(again.books().await.held, 2);
}
