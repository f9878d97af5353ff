//! What the soak allows retention to delete: only what it has put aside before, to judge it in the end.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga_participant::faults::{Plant, planted};

/// From which age on ended sagas may be forgotten now, where `age` is asked for; `None` while nothing may.
pub(super) fn forgettable(age: Duration) -> Option<Duration> {
    if planted(Plant::ForgetsEarly) {
        return Some(Duration::ZERO);
    }
    static FILE: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| std::env::var_os("SAGA_ARCHIVED_UNTIL")) else {
        return Some(age);
    };
    // A file that is not there yet says that nothing is put aside yet.
    let text = std::fs::read_to_string(file).ok()?;
    allowed(age, &text, SystemTime::now().duration_since(UNIX_EPOCH).ok()?)
}

/// The larger of the age asked for and that of what ended at the moment which the text names.
fn allowed(age: Duration, until: &str, now: Duration) -> Option<Duration> {
    let until = Duration::from_micros(until.trim().parse().ok()?);
    Some(age.max(now.saturating_sub(until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_put_aside_is_too_young_to_be_forgotten() {
        let [age, now] = [4, 100].map(Duration::from_secs);
        assert_eq!(allowed(age, "90000000", now), Some(Duration::from_secs(10)));
        assert_eq!(allowed(age, "99000000", now), Some(age));
        assert_eq!(allowed(age, "", now), None);
    }
}
