//! What the tests stand on.

mod clock;
mod desk;
mod faulty_store;
mod logs;
mod world;

pub(crate) use clock::VirtualClock;
pub(crate) use desk::Behave;
pub(crate) use faulty_store::{Fault, FaultyStore};
pub(crate) use logs::Logs;
pub(crate) use world::*;
