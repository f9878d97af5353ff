//! The barrier on real SQLite files, and the extractor on real requests.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod anomalies;
mod concurrent;
mod http;
mod shop;
mod transaction;
