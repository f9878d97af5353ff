//! The worker against stores and participants that fail, in virtual time.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod support;

mod blocked;
mod bounds;
mod breaker;
mod calls;
mod commands;
mod drain;
mod freeze;
#[cfg(feature = "http")]
mod http;
mod journey;
mod last_answer;
mod lease;
mod load;
mod outage;
mod poison;
mod retention;
mod retry;
mod simulation;
mod start;
mod threads;
mod typed;
mod upgrade;
mod versions;
mod waiting;
mod watching;
mod withdrawal;
