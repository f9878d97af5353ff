//! Crash points of the services themselves, nothing without the feature `crash-points`; see
//! `saga_participant::faults`.

#[cfg(feature = "crash-points")]
pub(crate) use saga_participant::faults::{Plant, chance, crash_here, planted};

/// A bug that can be planted.
#[cfg(not(feature = "crash-points"))]
pub(crate) enum Plant {
    /// A saga starts outside of the transaction that writes its order.
    StartApart,
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

/// True with the given chance.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn chance(_share: f64) -> bool {
    false
}
