//! The SQLite store from outside.
#![cfg(feature = "sqlite")]

mod conformance;
