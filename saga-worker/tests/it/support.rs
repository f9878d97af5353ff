//! What the tests stand on.

mod clock;
mod desk;
mod faulty_store;
mod world;

pub(crate) use desk::Behave;
pub(crate) use faulty_store::Fault;
pub(crate) use world::*;
