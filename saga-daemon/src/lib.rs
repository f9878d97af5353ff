//! The saga daemon: a worker with an HTTP API, a command line and metrics, for services in any
//! language. [`Daemon`] embeds it in a program of your own; the binary `saga-worker` is the same
//! by itself. [`declared`] reads definitions from YAML files, and [`outbound`] guards the calls
//! they make.
//!
//! The crate stands apart from `saga-worker` so that programs that only embed a worker inherit
//! neither an HTTP server nor SQL drivers.

pub mod access;
mod api;
mod audit;
pub mod body;
mod bulk;
pub mod cli;
mod config;
mod daemon;
pub mod declared;
mod feed;
mod metrics;
mod openapi;
mod otlp;
pub mod outbound;
pub mod problem;
mod rate;
mod register;
mod request;
mod routes;
mod server;
mod service;
mod tls;
mod webhooks;

pub use daemon::{ChangeError, Daemon, DaemonBuilder, DaemonError, DaemonHandle};
pub use metrics::Metrics;
pub use service::Limits;
pub use tls::{Tls, TlsError, TlsFiles};
pub use webhooks::{Webhook, Webhooks};
