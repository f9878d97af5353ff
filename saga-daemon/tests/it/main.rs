//! The daemon over real HTTP on loopback.

#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod audit;
mod bulk;
mod collector;
mod commands;
mod documents;
mod drain;
mod events;
mod feed;
mod feed_postgres;
mod hostile;
mod injection;
mod observability;
mod packaging;
mod postgres;
mod process;
mod rate;
mod reload;
mod roles;
mod sagas;
mod secrets;
mod slow;
mod socket;
mod support;
mod tls;
mod traces;
mod webhooks;
