//! Where a soak can make this process die, and what it can ask about the calls that were made.
//!
//! Without the feature `crash-points` all of this is nothing. With it, the environment arms the
//! points as `saga_participant::faults` describes, and `SAGA_CALL_JOURNAL` names a file that gets
//! one line per call, written right before the call is made:
//! `micros pid saga step op attempt epoch`.

use saga_core::{Op, StepContext, Timestamp};

#[cfg(feature = "crash-points")]
mod journal;

/// A call is about to be made.
#[cfg(feature = "crash-points")]
pub(crate) fn calling(context: &StepContext, epoch: u64, now: Timestamp) {
    saga_participant::faults::crash_here(match context.op {
        Op::Action => "call.before",
        Op::Compensation => "compensation.before",
    });
    journal::note(context, epoch, now);
}

/// A call has an answer, which is not durable yet.
#[cfg(feature = "crash-points")]
pub(crate) fn called(op: Op) {
    saga_participant::faults::crash_here(match op {
        Op::Action => "call.after",
        Op::Compensation => "compensation.after",
    });
}

/// The drain has begun.
#[cfg(feature = "crash-points")]
pub(crate) fn draining() {
    saga_participant::faults::crash_here("drain");
}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn calling(_context: &StepContext, _epoch: u64, _now: Timestamp) {}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn called(_op: Op) {}

#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn draining() {}
