//! The barrier on real databases, and the extractor on real requests.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
#![cfg(any(feature = "sqlite", feature = "postgres"))]

mod anomalies;
mod concurrent;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod http;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod proxy;
mod shop;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction;
