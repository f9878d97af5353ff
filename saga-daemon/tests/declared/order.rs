//! A whole saga from a file: a worker, a store in memory, and the example's services.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use saga_core::{MemoryStore, Verdict};
use saga_daemon::declared::{self, Declared, Options};
use saga_examples::coupons::Coupons;
use saga_examples::database::Database;
use saga_examples::inventory::Inventory;
use saga_examples::participant::{Participant, router};
use saga_examples::payments::Payments;
use saga_examples::place_order::{self, Participants};
use saga_examples::points::Points;
use saga_examples::switches::Switches;
use saga_worker::{SystemClock, Worker};
use serde_json::{Value, json};

use crate::support::Service;

const PLACE_ORDER: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../saga-examples/definitions/place-order.yaml"
));

/// The file with the services where they are in this test.
fn place_order_at(urls: &BTreeMap<&str, String>) -> Declared {
    let mut text = PLACE_ORDER.to_owned();
    for (nth, name) in ["inventory", "coupons", "points", "payments", "orders"].iter().enumerate() {
        let usual = format!("http://127.0.0.1:808{}", nth + 1);
        assert!(text.contains(&usual), "{usual}");
        text = text.replace(&usual, &urls[name]);
    }
    declared::parse("place-order.yaml", &text, &Options::default())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn the_file_and_the_rust_code_of_the_example_define_the_same_saga() {
    let urls = BTreeMap::from(
        ["inventory", "coupons", "points", "payments", "orders"]
            .map(|name| (name, "http://127.0.0.1:9".to_owned())),
    );
    let url = || "http://127.0.0.1:9".to_owned();
    let at = Participants {
        inventory: url(),
        coupons: url(),
        points: url(),
        payments: url(),
        orders: url(),
    };
    let in_rust = place_order::definition(&at).unwrap();
    let in_yaml = place_order_at(&urls).definition;
    assert_eq!(**in_yaml.spec(), **in_rust.spec());
    assert_eq!(in_yaml.spec().digest(), in_rust.spec().digest());
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<saga_examples::hang_up::HangUp>();
    let listener = saga_examples::hang_up::BreakableListener(listener);
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

async fn participant<P: Participant>(folder: &std::path::Path) -> String {
    let address = folder.join(format!("{}.db", P::TITLE.service)).display().to_string();
    let database = Database::open(&address.parse().unwrap(), P::TITLE.service).await.unwrap();
    serve(router::<P>(database, Switches::default()).await.unwrap()).await
}

fn order(number: u32, card: &str) -> Value {
    json!({
        "order": format!("order-{number}"), "customer": "customer-001", "sku": "SKU-001",
        "quantity": 2, "coupon": format!("COUPON-{number:05}"), "points": 50,
        "amount_cents": 2_000, "card": card,
    })
}

async fn verdict(worker: &Worker, name: &str, input: &Value) -> Verdict {
    let started = worker.start(name, input).await.unwrap();
    let verdict = tokio::time::timeout(Duration::from_secs(30), started.verdict());
    verdict.await.expect("a verdict within its time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_run_from_the_file_against_the_services_of_the_example() {
    let folder = tempfile::tempdir().unwrap();
    let orders = Service::start(|_| (200, b"{}".to_vec())).await;
    let urls = BTreeMap::from([
        ("inventory", participant::<Inventory>(folder.path()).await),
        ("coupons", participant::<Coupons>(folder.path()).await),
        ("points", participant::<Points>(folder.path()).await),
        ("payments", participant::<Payments>(folder.path()).await),
        ("orders", orders.url.clone()),
    ]);
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let definition = place_order_at(&urls).definition;
    let worker = Worker::builder(store).register(definition).start().await.unwrap();

    let good = verdict(&worker, "place-order", &order(1, "card-1")).await;
    assert_eq!(good, Verdict::Completed);
    let confirmed = orders.taken();
    assert_eq!(confirmed.len(), 1);
    assert_eq!(confirmed[0].uri.path(), "/confirm");
    assert_eq!(confirmed[0].body["outputs"]["capture-payment"]["captured_cents"], 1_500);

    let declined = verdict(&worker, "place-order", &order(2, "card-declined")).await;
    assert_eq!(declined, Verdict::Compensated);
    assert_eq!(orders.taken().len(), 0, "an order that was declined is not confirmed");
    // Its coupon and stock are free again: the same coupon serves another order.
    let mut again = order(2, "card-2");
    again["order"] = json!("order-3");
    assert_eq!(verdict(&worker, "place-order", &again).await, Verdict::Completed);
    worker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapped_saga_whose_pivot_is_refused_compensates_by_what_the_actions_answered() {
    let hotels = Service::start(|_| (200, br#"{"id": "room-7", "cents": 300}"#.to_vec())).await;
    let flights = Service::start(|_| (200, br#"{"id": "seat-8", "cents": 400}"#.to_vec())).await;
    let cards = Service::start(|_| (402, br#"{"detail": "no money left"}"#.to_vec())).await;
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../saga-examples/definitions/book-trip.yaml"
    ))
    .replace("https://hotels.example/api/v3", &hotels.url)
    .replace("https://flights.example", &flights.url)
    .replace("https://payments.example", &cards.url);
    let options = Options {
        allow_hosts: ["127.0.0.1".parse().unwrap()].into_iter().collect(),
        secrets: declared::SecretSource::with_environment(None, |name| {
            Some(format!("value-of-{name}"))
        }),
        ..Options::default()
    };
    let trip = declared::parse("book-trip.yaml", &text, &options)
        .unwrap_or_else(|faults| panic!("{faults}"));
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let worker = Worker::builder(store).register(trip.definition).start().await.unwrap();
    let input = json!({"city": "São Paulo", "nights": 2, "customer": {"name": "Ann"}});
    let started = worker.start("book-trip", &input).await.unwrap();
    let verdict = tokio::time::timeout(Duration::from_secs(30), started.verdict()).await.unwrap();
    assert_eq!(verdict.unwrap(), Verdict::Compensated);

    let charged = cards.taken();
    assert_eq!(charged.len(), 1, "402 is a rejection, so it is not tried again");
    assert_eq!(charged[0].body, json!({"reference": format!("trip {}", started.id), "cents": 700}));
    let at_hotels = hotels.taken();
    assert_eq!(at_hotels[0].uri.to_string(), "/rooms/S%C3%A3o%20Paulo/bookings?nights=2");
    assert_eq!(at_hotels[0].body["beds"], 1);
    let undone = &at_hotels[1];
    assert_eq!(undone.method.as_str(), "DELETE");
    assert_eq!(undone.uri.path(), format!("/bookings/{}", started.id));
    assert_eq!(undone.body, json!({"booking": "room-7"}));
    assert_eq!(flights.taken().len(), 2);

    // What the engine keeps of all this holds no secret.
    let view = serde_json::to_string(&worker.client().view(started.id).await.unwrap()).unwrap();
    assert!(view.contains("no money left") && !view.contains("value-of-"), "{view}");
    worker.shutdown().await;
}
