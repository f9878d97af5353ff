//! The order service over HTTP: orders together with their sagas, commands, and a rollout.

use std::sync::Arc;

use saga_core::store::Query;
use saga_core::{Share, Store};
use saga_examples::database::{Database, Sagas};
use saga_examples::order::Order;
use saga_examples::orders::{self, Shop};
use saga_examples::place_order::{self, Participants};
use saga_examples::service;
use saga_worker::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::order;
use crate::place::{Kind, Place, on_each_database};

/// An order service without a worker behind it.
struct Scene {
    url: String,
    http: reqwest::Client,
    store: Arc<dyn Store>,
    _places: [Place; 2],
}

impl Scene {
    async fn new<DB: Kind>(rollout: Option<Share>) -> Scene {
        let places = [DB::new_place(), DB::new_place()];
        let address = &places[0].address;
        let sagas = Sagas::open(address).await.unwrap();
        let store = sagas.store(address);
        let client = Client::new(store.clone(), Vec::new()).unwrap();
        let shop = Shop::new(client).beside(sagas.beside(address).await.unwrap());
        let shop = match rollout {
            Some(share) => shop.rollout(place_order::NEWEST, share),
            None => shop,
        };
        let database = Database::open(&places[1].address, "orders").await.unwrap();
        let router = orders::router(database, Some(shop)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(service::serve(listener, router, CancellationToken::new()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        Scene { url, http: reqwest::Client::new(), store, _places: places }
    }

    /// What a worker does when it starts.
    async fn put_on_record(&self, newest: u32) {
        let nowhere = "http://127.0.0.1:9".to_owned();
        let at = Participants {
            inventory: nowhere.clone(),
            coupons: nowhere.clone(),
            points: nowhere.clone(),
            payments: nowhere.clone(),
            orders: nowhere,
        };
        for definition in place_order::definitions(&at, newest).unwrap() {
            self.store.publish(definition.spec()).await.unwrap();
        }
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let call = self.http.post(format!("{}{path}", self.url)).header("Idempotency-Key", key);
        let response = call.json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn place(&self, key: &str, together: bool, order: &Order) -> (u16, Value) {
        let path = if together { "/orders?together=true" } else { "/orders" };
        self.post(path, key, &serde_json::to_value(order).unwrap()).await
    }

    async fn sagas(&self) -> usize {
        self.store.find(&Query { limit: 100, ..Query::default() }).await.unwrap().len()
    }
}

on_each_database!(
    an_order_placed_together_with_its_saga_is_placed_once_under_its_key,
    a_key_that_has_a_saga_without_a_row_gets_no_row,
    a_command_gets_the_same_answer_again_under_its_request_id,
    a_rollout_begins_when_the_version_is_on_record,
);

async fn an_order_placed_together_with_its_saga_is_placed_once_under_its_key<DB: Kind>() {
    let scene = Scene::new::<DB>(None).await;
    scene.put_on_record(1).await;
    let order = order();
    let (first, again) =
        tokio::join!(scene.place("order-17", true, &order), scene.place("order-17", true, &order));
    let mut codes = [first.0, again.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 202], "{first:?} {again:?}");
    assert_eq!(first.1["order_id"], again.1["order_id"]);

    let other = Order { amount_cents: 1, ..order };
    assert_eq!(scene.place("order-17", true, &other).await.0, 409);
    assert_eq!(scene.sagas().await, 1);
}

async fn a_key_that_has_a_saga_without_a_row_gets_no_row<DB: Kind>() {
    let scene = Scene::new::<DB>(None).await;
    scene.put_on_record(1).await;
    assert_eq!(scene.place("order-17", false, &order()).await.0, 202);
    // Had a row been written, the second call would find it.
    for _ in 0..2 {
        let (code, problem) = scene.place("order-17", true, &order()).await;
        assert_eq!(code, 409);
        assert!(problem["detail"].as_str().unwrap().contains("has no row"), "{problem}");
    }
    assert_eq!(scene.sagas().await, 1);
}

async fn a_command_gets_the_same_answer_again_under_its_request_id<DB: Kind>() {
    let scene = Scene::new::<DB>(None).await;
    scene.put_on_record(1).await;
    let (_, placed) = scene.place("order-17", false, &order()).await;
    let path = format!("/orders/{}/commands", placed["order_id"].as_str().unwrap());
    let cancel = json!({ "action": "cancel", "actor": "customer-003", "reason": "too late" });
    // No worker drives the saga, so the answer is given here in its place.
    let giving = scene.post(&path, "cancel-1", &cancel);
    let answering = async {
        let id = placed["order_id"].as_str().unwrap().parse().unwrap();
        loop {
            if let Some(command) = scene.store.commands(id).await.unwrap().pop() {
                let refusal = saga_core::Refusal::CompensatingAlready;
                let answer = saga_core::store::CommandAnswer::Refused(refusal);
                return scene.store.answer(id, &command.request_id, &answer, None).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let ((code, problem), ()) = tokio::join!(giving, answering);
    assert_eq!(code, 409);
    assert!(problem["type"].as_str().unwrap().ends_with("/command-refused"), "{problem}");
    assert_eq!(scene.post(&path, "cancel-1", &cancel).await, (code, problem));

    let stop = json!({ "action": "stop", "actor": "customer-003", "reason": "too late" });
    let (code, problem) = scene.post(&path, "cancel-1", &stop).await;
    assert_eq!((code, problem["title"].as_str()), (409, Some("The key was used before")));
}

async fn a_rollout_begins_when_the_version_is_on_record<DB: Kind>() {
    let scene = Scene::new::<DB>(Some(Share::percent(100))).await;
    scene.put_on_record(1).await;
    for together in [false, true] {
        assert_eq!(scene.place("order-17", together, &order()).await.0, 503);
    }
    scene.put_on_record(2).await;
    for (key, together) in [("order-17", false), ("order-18", true)] {
        assert_eq!(scene.place(key, together, &order()).await.0, 202);
    }
    let sagas = scene.store.find(&Query { limit: 100, ..Query::default() }).await.unwrap();
    let versions: Vec<_> = sagas.iter().map(|saga| saga.definition.version).collect();
    assert_eq!(versions, [2, 2]);
}
