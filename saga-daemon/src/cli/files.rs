//! How many files this process may have open: every connection is one, and a daemon that has none left
//! reaches neither its store nor a participant.

use crate::service::Limits;

/// Files beside the connections of clients and the calls to participants: the store, the log, listeners.
const OTHERS: u64 = 128;

/// Raises the bound of the account's choice to what is needed, as far as it may be raised, and takes no
/// more connections than fit.
pub(super) fn make_room(limits: &mut Limits, concurrency_max: usize) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let others = count(concurrency_max).saturating_add(OTHERS);
    let wanted = count(limits.connections_max).saturating_add(others);
    let may = match rlimit::increase_nofile_limit(wanted) {
        Ok(may) => may,
        Err(error) => {
            tracing::warn!(%error, "cannot find out how many files may be open");
            return;
        }
    };
    if may < wanted {
        let fit = fitting(may, others);
        tracing::warn!(
            files = may,
            connections = fit,
            "http.connections_max is {} and needs {wanted} open files: raise LimitNOFILE (ulimit -n), or lower it",
            limits.connections_max
        );
        limits.connections_max =
            usize::try_from(fit).unwrap_or(usize::MAX).min(limits.connections_max);
    }
}

/// The connections for which there is room; a few there always have to be.
fn fitting(may: u64, others: u64) -> u64 {
    may.saturating_sub(others).max(may / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_store_and_the_participants() {
        assert_eq!(fitting(4_096, 640), 3_456);
        assert_eq!(fitting(1_024, 640), 384);
        assert_eq!(fitting(256, 640), 64);
        assert_eq!(fitting(1, 640), 1);
    }
}
