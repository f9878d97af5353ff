//! The worker against stores and participants that fail, in virtual time.

mod support;

mod bounds;
mod breaker;
mod calls;
mod commands;
mod drain;
mod journey;
mod lease;
mod load;
mod outage;
mod poison;
mod retry;
mod start;
mod watching;
