//! Faults that can be armed in a process, to prove that the project's soak would notice them.
//!
//! Without the feature `crash-points` everything here is nothing. With it, the environment arms
//! what is to go wrong:
//!
//! | variable | means |
//! | --- | --- |
//! | `SAGA_CRASH_POINTS` | `append.before=0.01,call.after=1`: with which chance the process dies where |
//! | `SAGA_CRASH_SEED` | seed of the chances; default 0 |
//! | `SAGA_CRASH_LOG` | file that gets a line, `point pid`, from each process that dies at a point |
//! | `SAGA_ARCHIVED_UNTIL` | file with a moment, in microseconds since 1970: only what ended before it is forgotten |
//! | `SAGA_PLANT` | the name of a [`Plant`]: a bug that the process then has |

#[cfg(feature = "crash-points")]
mod armed;

#[cfg(feature = "crash-points")]
pub use armed::{chance, crash_here, note, planted, stand_still, strikes};

/// A bug that can be planted, to see that a check finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// The store takes appends of workers that no longer own the saga.
    NoFence,
    /// The barrier forgets that a compensation came before its action.
    NoTombstone,
    /// The barrier does not recognise a call that came before.
    NoIdempotencyKey,
    /// The store says now and then that it has stored what it has not.
    CommitLies,
    /// The store keeps a refusal where a command was carried out.
    WrongAnswer,
    /// The saga of an order starts in another transaction than the one that writes the order.
    StartApart,
    /// Retention deletes sagas as soon as they have ended.
    ForgetsEarly,
    /// The store says that a worker's lease is handed back, and keeps it.
    KeepsLease,
}

impl Plant {
    /// All of them.
    pub const ALL: [Plant; 8] = [
        Plant::NoFence,
        Plant::NoTombstone,
        Plant::NoIdempotencyKey,
        Plant::CommitLies,
        Plant::WrongAnswer,
        Plant::StartApart,
        Plant::ForgetsEarly,
        Plant::KeepsLease,
    ];

    /// Its name, as `SAGA_PLANT` holds it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Plant::NoFence => "no-fence",
            Plant::NoTombstone => "no-tombstone",
            Plant::NoIdempotencyKey => "no-idempotency-key",
            Plant::CommitLies => "commit-lies",
            Plant::WrongAnswer => "wrong-answer",
            Plant::StartApart => "start-apart",
            Plant::ForgetsEarly => "forgets-early",
            Plant::KeepsLease => "keeps-lease",
        }
    }
}

/// The process dies here if that was armed.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn crash_here(_point: &'static str) {}

/// Whether this process has the bug.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn planted(_plant: Plant) -> bool {
    false
}
