//! The worker against stores and participants that fail, in virtual time.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod support;

mod bounds;
mod breaker;
mod calls;
mod commands;
mod drain;
#[cfg(feature = "http")]
mod http;
mod journey;
mod lease;
mod load;
mod outage;
mod poison;
mod retention;
mod retry;
mod simulation;
mod start;
mod threads;
mod watching;
