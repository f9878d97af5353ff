//! The four services over real HTTP, as an engine sees them.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod books;
mod client;
mod coupons;
mod inventory;
mod payments;
mod place;
mod points;
mod process;
mod shop;
mod start_in;
mod switches;
