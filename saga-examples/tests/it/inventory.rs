//! Stock is reserved and released, each at most once per saga.

use std::sync::Arc;

use saga_examples::inventory::Inventory;
use saga_examples::order::Order;
use serde_json::json;
use throwaway_postgres::{Cluster, Settings};
use tokio::task::JoinSet;

use crate::client::{Service, order};
use crate::place::{Kind, Place, on_each_database};

on_each_database!(
    stock_is_reserved_once_and_released_once,
    what_is_not_there_cannot_be_reserved,
    the_last_units_are_never_reserved_twice_however_many_ask_at_once,
    an_action_that_comes_after_its_compensation_is_refused,
    a_call_at_the_wrong_endpoint_and_a_body_that_is_no_order_are_malformed,
    the_service_tells_that_it_is_up,
    a_service_started_again_on_its_database_remembers_everything,
);

async fn service<DB: Kind>() -> Service {
    Service::start::<Inventory, DB>("reserve-stock").await
}

async fn stock_is_reserved_once_and_released_once<DB: Kind>() {
    let inventory = service::<DB>().await;
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

async fn what_is_not_there_cannot_be_reserved<DB: Kind>() {
    let inventory = service::<DB>().await;
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

async fn the_last_units_are_never_reserved_twice_however_many_ask_at_once<DB: Kind>() {
    let inventory = Arc::new(service::<DB>().await);
    let mut sagas = JoinSet::new();
    for nth in 0..20 {
        let inventory = Arc::clone(&inventory);
        let rare = Order { sku: "SKU-RARE".to_owned(), quantity: 1, ..order() };
        sagas.spawn(async move { inventory.act("/reserve", &format!("s-{nth}"), &rare).await });
    }
    let replies = sagas.join_all().await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 5);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert!(reply.rejection().contains("1 wanted, 0 left"));
    }
    assert_eq!(inventory.books().await.held, 5);
}

async fn an_action_that_comes_after_its_compensation_is_refused<DB: Kind>() {
    let inventory = service::<DB>().await;
    inventory.compensate("/release", "s", &order()).await.output();
    let dangling = inventory.act("/reserve", "s", &order()).await;
    assert_eq!((dangling.status, dangling.recorded), (409, true));
    assert!(dangling.body["type"].as_str().unwrap().ends_with("/dangling-action"));
    assert_eq!(inventory.effects("s").await, (0, 0));
}

async fn a_call_at_the_wrong_endpoint_and_a_body_that_is_no_order_are_malformed<DB: Kind>() {
    let inventory = service::<DB>().await;
    let wrong_endpoint = inventory.act("/release", "s", &order()).await;
    assert_eq!((wrong_endpoint.status, wrong_endpoint.recorded), (400, false));
    assert!(wrong_endpoint.body["detail"].as_str().unwrap().contains("s:reserve-stock:action"));

    let no_call = inventory.http.post(inventory.url("/reserve")).body("{}").send().await.unwrap();
    assert_eq!(no_call.status(), 400);
    assert!(no_call.text().await.unwrap().contains("x-saga-op"));
    assert_eq!(inventory.books().await.movements, []);
}

async fn the_service_tells_that_it_is_up<DB: Kind>() {
    let inventory = service::<DB>().await;
    let health = inventory.http.get(inventory.url("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200);
}

async fn a_service_started_again_on_its_database_remembers_everything<DB: Kind>() {
    let first = service::<DB>().await;
    let reserved = first.act("/reserve", "s", &order()).await;
    let again = first.start_again::<Inventory>().await;
    assert_eq!(again.act("/reserve", "s", &order()).await, reserved);
    assert_eq!(again.books().await, first.books().await);
    assert_eq!(again.books().await.held, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_on_by_itself_when_its_server_has_crashed() {
    let mut cluster = Cluster::start(&Settings::default()).unwrap();
    let address = cluster.create_database("shop").unwrap().parse().unwrap();
    let place = Arc::new(Place::given(address));
    let inventory = Arc::new(Service::start_at::<Inventory>(place, "reserve-stock").await);
    // At once, so that the service has several connections to lose.
    let mut sagas = JoinSet::new();
    for nth in 0..10 {
        let inventory = Arc::clone(&inventory);
        sagas.spawn(async move { inventory.act("/reserve", &format!("s-{nth}"), &order()).await });
    }
    sagas.join_all().await;
    let before = inventory.books().await;

    cluster.crash().unwrap();
    // Processes of the killed server may still be on their way out, and hinder the new one.
    cluster.restart().or_else(|_| cluster.restart()).unwrap();
    assert_eq!(inventory.books().await, before);
    inventory.compensate("/release", "s-0", &order()).await.output();
    assert_eq!(inventory.effects("s-0").await, (1, 1));
}
