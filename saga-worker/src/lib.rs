//! Runs sagas: embed it in a Rust service.
//!
//! ```
//! use std::sync::Arc;
//! use saga_core::{Definition, Failure, Input, MemoryStore, Output, Step, Verdict};
//! use saga_worker::{SystemClock, Worker};
//! # use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { sku: String, cents: u64 }
//! #[derive(Serialize, Deserialize)]
//! struct Reservation { sku: String }
//!
//! async fn reserve(Input(order): Input<Order>) -> Result<Reservation, Failure> {
//!     Ok(Reservation { sku: order.sku })
//! }
//! async fn release(_: Option<Output<Reservation>>) -> Result<(), Failure> { Ok(()) }
//! async fn capture(Input(order): Input<Order>) -> Result<(), Failure> {
//!     if order.cents > 100_000 { return Err(Failure::rejected("over the card's limit")); }
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let place_order = Definition::new("place-order", [
//!     Step::compensatable("reserve-stock", reserve, release),
//!     Step::pivot("capture-payment", capture),
//! ])?;
//! // In earnest: saga_store::connect("sqlite://saga.db").await?
//! let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let worker = Worker::builder(store).register(place_order).start().await?;
//!
//! let cheap = worker.start("place-order", &Order { sku: "A".into(), cents: 499 }).key("order-1").await?;
//! assert_eq!(cheap.verdict().await?, Verdict::Completed);
//! let dear = worker.start("place-order", &Order { sku: "A".into(), cents: 999_999 }).key("order-2").await?;
//! assert_eq!(dear.verdict().await?, Verdict::Compensated);
//! worker.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How a saga is driven
//!
//! A worker holds a lease, kept by a heartbeat. It claims sagas that are due,
//! replays each from its log and gives it to an executor, which asks the state
//! machine what to do, makes the intent durable, calls, makes the outcome
//! durable, and so on until there is a verdict or a longer wait. Every append is
//! checked against the owner's epoch, so a worker that lost its lease without
//! noticing can change nothing; and it asks its own lease right before every
//! call, so it soon stops calling as well.
//!
//! # Features
//!
//! `http` (steps that call participants over HTTP), `otel` (spans and metrics
//! through the OpenTelemetry API), `backoff` (carry policies of the `backoff` crate over; that crate is unmaintained, see
//! RUSTSEC-2025-0012, and turning the feature off removes it), `crash-points` (off: for the project's own
//! soak, which arms faults in a worker).

mod breakers;
mod client;
mod clock;
mod due;
mod entropy;
mod executor;
mod faults;
#[cfg(feature = "http")]
mod http_answer;
#[cfg(feature = "http")]
mod http_call;
#[cfg(feature = "http")]
mod http_step;
mod last_answer;
mod lease;
mod punctual;
mod registry;
mod retry_schedule;
mod rollouts;
mod runtime;
pub mod telemetry;
mod watchers;
mod worker;

pub use breakers::BreakerView;
pub use client::{
    Client, ClientError, CommandError, Found, LogEntry, Search, Settled, Start, StartError, Started,
};
pub use clock::SystemClock;
#[cfg(feature = "http")]
pub use http_call::{HttpCall, HttpRequest, MapRequest};
#[cfg(feature = "http")]
pub use http_step::{HttpParticipant, HttpParticipantError};
pub use registry::RegistryError;
pub use retry_schedule::RetrySchedule;
#[cfg(feature = "backoff")]
pub use retry_schedule::policy_from_backoff;
pub use rollouts::RolloutError;
pub use worker::{BuildError, DrainReport, RegisterError, Worker, WorkerBuilder};
