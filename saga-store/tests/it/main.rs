//! The SQLite store from outside.
#![cfg(feature = "sqlite")]

mod conformance;
mod damage;
mod driven;
mod feed;
mod full;
mod hints;
mod kill;
mod opening;
mod plans;
mod sharing;
