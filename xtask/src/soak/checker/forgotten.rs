//! Sagas that retention has deleted: each was put aside before, as it was when it ended, and is judged
//! like all others.

use std::collections::HashMap;

use saga_core::SagaId;

use super::logs::State;
use crate::soak::tally::Tally;

/// All sagas, those that are only in the archive marked as forgotten.
///
/// S1: what was put aside at its end has not changed since.
pub(super) fn join(tally: &Tally, states: Vec<State>, aside: Vec<State>) -> Vec<(State, bool)> {
    let mut aside: HashMap<SagaId, State> =
        aside.into_iter().map(|state| (state.id, state)).collect();
    let mut all = Vec::with_capacity(states.len() + aside.len());
    for state in states {
        if let Some(before) = aside.remove(&state.id)
            && (state.log != before.log || state.status() != before.status())
        {
            tally.violated("S1", format!("saga {} changed after its end", state.id));
        }
        all.push((state, false));
    }
    all.extend(aside.into_values().map(|state| (state, true)));
    all
}

/// S13: a saga that was seen alive is there, or was put aside before it was forgotten.
pub(super) fn check_seen(
    tally: &Tally,
    seen: impl Iterator<Item = SagaId>,
    is_known: impl Fn(SagaId) -> bool,
) {
    for id in seen.filter(|id| !is_known(*id)) {
        tally.violated("S13", format!("saga {id} was seen alive, and is gone unjudged"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::logs::tests::state;
    use super::*;

    fn found(check: impl FnOnce(&Tally)) -> Vec<&'static str> {
        let tally = Tally::default();
        check(&tally);
        tally.counted().violations.into_keys().collect()
    }

    #[test]
    fn what_was_put_aside_counts_once_and_is_forgotten_only_when_it_is_nowhere_else() {
        let other = || {
            let mut other = state(&[0]);
            other.id = SagaId::from_bytes([8; 16]);
            other
        };
        let tally = Tally::default();
        let all = join(&tally, vec![state(&[0, 1])], vec![state(&[0, 1]), other()]);
        let all: Vec<_> = all.iter().map(|(state, forgotten)| (state.id, *forgotten)).collect();
        assert_eq!(all, [(state(&[0]).id, false), (other().id, true)]);
        assert!(tally.counted().violations.is_empty());
    }

    #[test]
    fn a_saga_that_went_on_after_its_end_is_found() {
        let found = found(|tally| {
            join(tally, vec![state(&[0, 1])], vec![state(&[0])]);
        });
        assert_eq!(found, ["S1"]);
    }

    #[test]
    fn a_saga_that_was_deleted_unjudged_is_found() {
        let seen = || [SagaId::from_bytes([7; 16])].into_iter();
        assert_eq!(found(|tally| check_seen(tally, seen(), |_| false)), ["S13"]);
        assert_eq!(found(|tally| check_seen(tally, seen(), |_| true)), Vec::<&str>::new());
    }
}
