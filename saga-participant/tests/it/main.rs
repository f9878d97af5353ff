//! The barrier on real databases, and the extractor on real requests.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]
#![cfg(any(feature = "sqlite", feature = "postgres", feature = "rusqlite"))]

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod anomalies;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod concurrent;
#[cfg(feature = "postgres")]
mod group;
#[cfg(feature = "rusqlite")]
mod grouped;
#[cfg(all(feature = "axum", feature = "sqlite"))]
mod http;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod proxy;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod shop;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;
