//! For services that take part in sagas.
//!
//! The engine calls a participant over HTTP: `POST <url of the action>`, and if the saga turns
//! back, `POST <url of the compensation>`. The network repeats, delays and reorders such calls, so
//! a participant must do each of them at most once, must bear a compensation whose action never
//! came, and must refuse an action that comes after its compensation. This crate does that: the
//! [`Barrier`] writes one guard row per call in the same transaction as the business change.
//!
//! # A participant
//!
//! ```
//! use axum::{Router, extract::State, routing::post};
//! use saga_participant::{Answer, Barrier, BarrierError, Refusal, SagaCall};
//! use serde::{Deserialize, Serialize};
//! use sqlx::{Sqlite, SqlitePool};
//!
//! #[derive(Clone, Deserialize)]
//! struct Order { sku: String, quantity: u32 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Reserved { sku: String, quantity: u32 }
//!
//! async fn reserve(
//!     State(barrier): State<Barrier<Sqlite>>,
//!     call: SagaCall<Order>,
//! ) -> Result<Answer, BarrierError> {
//!     let Order { sku, quantity } = call.input.clone();
//!     barrier.act(&call.identity(), async move |tx| {
//!         let taken = sqlx::query("UPDATE stock SET free = free - $1 WHERE sku = $2 AND free >= $1")
//!             .bind(quantity).bind(&sku).execute(tx).await?;
//!         if taken.rows_affected() == 0 {
//!             return Err(Refusal::rejected(format!("fewer than {quantity} of {sku} are left")));
//!         }
//!         Ok(Reserved { sku, quantity })
//!     }).await
//! }
//!
//! async fn release(
//!     State(barrier): State<Barrier<Sqlite>>,
//!     call: SagaCall<Order>,
//! ) -> Result<Answer, BarrierError> {
//!     // Only called when there is something to undo, with the recorded output of the action.
//!     barrier.compensate(&call.identity(), async |tx, reserved: Reserved| {
//!         sqlx::query("UPDATE stock SET free = free + $1 WHERE sku = $2")
//!             .bind(reserved.quantity).bind(&reserved.sku).execute(tx).await?;
//!         Ok(())
//!     }).await
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // One connection, because each connection to `:memory:` is a database of its own. A real
//! // service opens a file here.
//! let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect(":memory:").await?;
//! sqlx::query("CREATE TABLE stock (sku TEXT PRIMARY KEY, free INTEGER NOT NULL)").execute(&pool).await?;
//! sqlx::query("INSERT INTO stock VALUES ('SKU-1', 5)").execute(&pool).await?;
//!
//! let barrier = Barrier::new(pool);
//! barrier.migrate().await?;
//! let app: Router = Router::new()
//!     .route("/reserve", post(reserve))
//!     .route("/release", post(release))
//!     .with_state(barrier.clone());
//! // axum::serve(listener, app).await?;
//! # use saga_participant::{Call, Op};
//! # let body = |op: Op| {
//! #     let call = serde_json::json!({"saga_id": "s-1", "saga": "buy", "step": "reserve-stock",
//! #         "attempt": 1, "input": {"sku": "SKU-1", "quantity": 2}});
//! #     SagaCall { op, call: serde_json::from_value::<Call<Order>>(call).unwrap() }
//! # };
//! # for _ in 0..2 {
//! #     let answer = reserve(State(barrier.clone()), body(Op::Action)).await?;
//! #     assert_eq!(answer.body(), r#"{"sku":"SKU-1","quantity":2}"#);
//! # }
//! # let free = || sqlx::query_scalar::<_, i64>("SELECT free FROM stock").fetch_one(barrier.pool());
//! # assert_eq!(free().await?, 3);
//! # release(State(barrier.clone()), body(Op::Compensation)).await?;
//! # assert_eq!(free().await?, 5);
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # The protocol
//!
//! A call is a [`Call`] as JSON with the [`headers`]; what a status means to the engine:
//!
//! | answer | means | the engine then |
//! | --- | --- | --- |
//! | 2xx | processed; the body is the output, an empty body is `null` | goes on |
//! | 409, 422 | rejected; [`Problem::detail`] is the reason | compensates the earlier steps |
//! | 425, 429, 503 | not yet; `Retry-After` is honoured | comes again |
//! | anything else, a timeout, a broken connection | unknown: it may or may not have happened | comes again with the same idempotency key |
//!
//! An answer with `X-Saga-Barrier: recorded` holds for every attempt of the call, so a rejection
//! that carries it proves that no attempt before it had, or will have, an effect.
//!
//! # Features
//!
//! - none: the protocol's words ([`headers`], [`Op`], [`Call`], [`Answer`], [`Problem`]).
//! - `sqlite` (default): the [`Barrier`] for sqlx on SQLite. It needs a tokio runtime.
//! - `postgres`: the same on PostgreSQL 12 or newer. What needs TLS turns a `tls-` feature of sqlx
//!   on as well.
//! - `rusqlite`: the [`GroupedBarrier`] for rusqlite, where the calls that arrive together share one
//!   commit. Of the two on SQLite it is by far the faster one.
//! - `crash-points`: for the project's own soak, which arms faults in a process.
//! - `axum` (default): the extractor [`SagaCall`]; [`Answer`], [`Problem`] and [`BarrierError`] as
//!   responses.

mod call;
// Without the feature only this crate asks, and is always told that nothing is armed.
#[cfg(feature = "crash-points")]
pub mod faults;
#[cfg(not(feature = "crash-points"))]
#[allow(dead_code, unreachable_pub, reason = "what asks depends on the databases chosen")]
mod faults;
pub mod headers;
pub mod problem;

mod answer;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "rusqlite"))]
mod barrier;
#[cfg(feature = "axum")]
mod http;

pub use answer::Answer;
#[cfg(feature = "rusqlite")]
pub use barrier::GroupedBarrier;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use barrier::{Barrier, GuardRows};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "rusqlite"))]
pub use barrier::{BarrierError, Business, Refusal};
pub use call::{Call, CallIdentity, Op, UnknownOp};
#[cfg(feature = "axum")]
pub use http::SagaCall;
pub use problem::Problem;
