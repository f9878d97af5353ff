//! Commands in bulk: one command for every saga that a filter matches.
//!
//! A bulk is a register of the store: what is asked for, how far it has come, whose turn it is. One
//! daemon carries it out, by a lease; if it dies, another goes on where the register stands. Every saga
//! gets its command under a request id made of the bulk's id and its own, so what is given twice on the
//! way has no further effect. Sagas that begin after the bulk are not touched.

mod runner;
mod state;

pub(crate) use runner::carry_out_all;
pub(crate) use state::{Bulk, Change, Counts, Filter, Phase, change, create, find, list};
