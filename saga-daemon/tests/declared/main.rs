//! Definitions in YAML: what is refused and how it is said, and what is called.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod faults;
mod folders;
mod mapping;
mod noise;
mod order;
mod outbound;
mod replies;
mod schema;
mod secrets;
mod support;
