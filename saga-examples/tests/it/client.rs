//! A service on a free port in this process, and a client that calls it as the engine does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saga_examples::books::{Books, Movement};
use saga_examples::database::Database;
use saga_examples::order::Order;
use saga_examples::participant::{self, Participant};
use saga_examples::service;
use saga_examples::switches::{Misbehaviour, Switches};
use saga_participant::{Call, CallIdentity, Op, headers};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::place::{Kind, Place};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) http: reqwest::Client,
    step: &'static str,
    place: Arc<Place>,
}

/// What came back for a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) recorded: bool,
    pub(crate) body: Value,
}

impl Reply {
    /// The reason of a rejection, which must be one.
    pub(crate) fn rejection(&self) -> &str {
        assert_eq!((self.status, self.recorded), (422, true), "{}", self.body);
        self.body["detail"].as_str().unwrap()
    }

    /// The output of a processed call, which must be one.
    pub(crate) fn output(&self) -> &Value {
        assert_eq!((self.status, self.recorded), (200, true), "{}", self.body);
        &self.body
    }
}

impl Service {
    /// Starts a service on a new database; its calls come from the step `step`.
    pub(crate) async fn start<P: Participant, DB: Kind>(step: &'static str) -> Service {
        Service::start_at::<P>(DB::new_place().into(), step).await
    }

    /// Starts the service once more on the database of this one, which goes on running.
    pub(crate) async fn start_again<P: Participant>(&self) -> Service {
        Service::start_at::<P>(Arc::clone(&self.place), self.step).await
    }

    /// Starts a service on the database of a place.
    pub(crate) async fn start_at<P: Participant>(place: Arc<Place>, step: &'static str) -> Service {
        let database = Database::open(&place.address, P::TITLE.service).await.unwrap();
        let router = participant::router::<P>(database, Switches::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(service::serve(listener, router, CancellationToken::new()));
        // reqwest wants a provider of cryptography even where every URL is plain HTTP; a second
        // installation in the same process is refused and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Service { address, http: reqwest::Client::new(), step, place }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// One attempt of an action for the saga `saga_id`.
    pub(crate) async fn act(&self, path: &str, saga_id: &str, order: &Order) -> Reply {
        self.send(path, Op::Action, saga_id, order).await.unwrap()
    }

    /// One attempt of a compensation for the saga `saga_id`.
    pub(crate) async fn compensate(&self, path: &str, saga_id: &str, order: &Order) -> Reply {
        self.send(path, Op::Compensation, saga_id, order).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        path: &str,
        op: Op,
        saga_id: &str,
        order: &Order,
    ) -> reqwest::Result<Reply> {
        reply(self.request(path, op, saga_id, order).send().await?).await
    }

    pub(crate) fn request(
        &self,
        path: &str,
        op: Op,
        saga_id: &str,
        order: &Order,
    ) -> reqwest::RequestBuilder {
        let call = Call {
            saga_id: saga_id.to_owned(),
            saga: "place-order".to_owned(),
            step: self.step.to_owned(),
            attempt: 1,
            input: order,
            outputs: [("redeem-coupon".to_owned(), json!({"discount_cents": 500}))].into(),
        };
        let CallIdentity { saga_id, step, .. } = call.identity(op);
        self.http
            .post(self.url(path))
            .header(headers::IDEMPOTENCY_KEY, call.identity(op).idempotency_key())
            .header(headers::SAGA_ID, saga_id)
            .header(headers::SAGA_STEP, step)
            .header(headers::SAGA_OP, op.as_str())
            .header(headers::SAGA_ATTEMPT, call.attempt)
            .json(&call)
    }

    /// The books, whose arithmetic must be right.
    pub(crate) async fn books(&self) -> Books {
        let books: Books =
            self.http.get(self.url("/books")).send().await.unwrap().json().await.unwrap();
        assert!(books.arithmetic_ok, "{books:?}");
        assert_eq!(books.opening, books.balance + books.held);
        books
    }

    /// How often action and compensation of a saga took effect.
    pub(crate) async fn effects(&self, saga_id: &str) -> (i64, i64) {
        let movements = self.books().await.movements;
        let of_saga = movements.iter().find(|movement| movement.saga_id == saga_id);
        of_saga.map_or((0, 0), |Movement { action_effects, compensation_effects, .. }| {
            (*action_effects, *compensation_effects)
        })
    }

    /// Asks again and again until the action of a saga has taken effect.
    pub(crate) async fn until_effective(&self, saga_id: &str) {
        let start = Instant::now();
        while self.effects(saga_id).await.0 == 0 {
            assert!(start.elapsed() < PATIENCE, "the action of {saga_id} never took effect");
        }
    }

    /// Makes every action misbehave in one way, or none.
    pub(crate) async fn always(&self, misbehaviour: Option<Misbehaviour>) {
        let switches =
            Switches { always: misbehaviour, slow_ms: 60_000, late_ms: 400, ..Switches::default() };
        let response = self.http.put(self.url("/switches")).json(&switches).send().await.unwrap();
        assert_eq!(response.json::<Switches>().await.unwrap(), switches);
    }
}

pub(crate) async fn reply(response: reqwest::Response) -> reqwest::Result<Reply> {
    Ok(Reply {
        status: response.status().as_u16(),
        recorded: response.headers().contains_key(headers::SAGA_BARRIER),
        body: response.json().await?,
    })
}

/// An order that every service accepts.
pub(crate) fn order() -> Order {
    Order {
        order: "order-17".to_owned(),
        customer: "customer-003".to_owned(),
        sku: "SKU-004".to_owned(),
        quantity: 2,
        coupon: Some("COUPON-00017".to_owned()),
        points: 150,
        amount_cents: 4_999,
        card: "card-17".to_owned(),
    }
}
