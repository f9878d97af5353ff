//! The barrier: one guard row per call, written in the participant's own transaction.
//!
//! Messages are repeated, overtake each other and arrive late. With a guard row in the same
//! transaction as the business change a participant bears all of it:
//!
//! | what arrives | what the barrier does | what it answers |
//! | --- | --- | --- |
//! | a call for the first time | runs the business code | its output, or its rejection; recorded |
//! | a call again (*duplicate*) | nothing | the recorded first answer, byte for byte |
//! | a compensation before its action (*null compensation*) | writes both guard rows | 200 with `null`; recorded |
//! | an action after its compensation (*dangling action*) | nothing | 409, type `dangling-action`; recorded |
//! | a compensation of a rejected action | nothing | 200 with `null`; recorded |
//!
//! What business code may say beside success is a [`Refusal`].
//!
//! A call first *claims* its guard row, by inserting it without an answer: of calls that arrive at
//! the same instant one goes on and the others wait at the row for its end. A compensation claims
//! the row of its action as well, and before its own, so the two of a step meet at one row whoever
//! is first. `decision` says what follows from the rows. `pooled` is the barrier over a pool of sqlx:
//! `transaction` runs a call there, `sqlite` and `postgres` hold only what differs between the
//! databases, and `group` lets calls share transactions. `grouped` is the barrier over one connection of rusqlite, where calls share commits.

mod business;
mod decision;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod group;
mod guard;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod pooled;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;

#[cfg(feature = "rusqlite")]
mod grouped;

use crate::call::{CallIdentity, Op};

pub use business::{Business, Refusal};
pub use error::BarrierError;
#[cfg(feature = "rusqlite")]
pub use grouped::GroupedBarrier;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use pooled::Barrier;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use rows::GuardRows;

/// Refuses a call that reached the endpoint of the other operation.
fn expect_op(identity: &CallIdentity, expected: Op) -> Result<(), BarrierError> {
    if identity.op == expected {
        return Ok(());
    }
    Err(BarrierError::WrongOp { identity: identity.clone(), expected })
}

#[cfg(test)]
mod tests;
