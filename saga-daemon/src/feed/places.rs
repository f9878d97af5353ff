//! Places for streams: bounded in number, for all and for each key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Principal;
use crate::problem::{Kind, Problem};
use crate::service::Limits;

/// Who holds how many places.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_key: HashMap<String, usize>,
}

/// A place for one stream, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    key: Option<String>,
}

impl Places {
    /// Takes a place for the holder of a key.
    ///
    /// # Errors
    /// A problem when all are taken, or those of this key.
    pub(crate) fn take(
        self: &Arc<Self>,
        principal: &Principal,
        limits: &Limits,
    ) -> Result<Place, Problem> {
        let mut taken = self.lock();
        if taken.all >= limits.streams_max {
            let detail = format!(
                "all {} places for event streams are taken: come back later, or poll with ?wait=",
                limits.streams_max
            );
            return Err(Problem::new(Kind::TooManyStreams, detail));
        }
        if let Some(key) = &principal.key {
            let held = taken.by_key.entry(key.clone()).or_default();
            if *held >= limits.streams_per_key_max {
                let detail = format!(
                    "this key holds {held} event streams, and may hold {}: end some, or use fewer with wider filters",
                    limits.streams_per_key_max
                );
                return Err(Problem::new(Kind::TooManyStreamsOfKey, detail));
            }
            *held += 1;
        }
        taken.all += 1;
        Ok(Place { places: self.clone(), key: principal.key.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        let Some(key) = self.key.take() else { return };
        if let Entry::Occupied(mut held) = taken.by_key.entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn holder(key: Option<&str>) -> Principal {
        Principal { key: key.map(str::to_owned), role: Role::Viewer }
    }

    #[test]
    fn places_are_bounded_for_all_and_for_each_key_and_given_back() {
        let limits = Limits { streams_max: 3, streams_per_key_max: 2, ..Limits::default() };
        let places: Arc<Places> = Arc::default();
        let take = |key| places.take(&holder(key), &limits).map_err(|problem| problem.kind());
        let (first, second) = (take(Some("a")).unwrap(), take(Some("a")).unwrap());
        assert_eq!(take(Some("a")).unwrap_err(), Kind::TooManyStreamsOfKey);
        let third = take(None).unwrap();
        assert_eq!(take(Some("b")).unwrap_err(), Kind::TooManyStreams);
        drop(first);
        let again = take(Some("a")).unwrap();
        drop((second, third, again));
        assert!(places.lock().by_key.is_empty() && places.lock().all == 0);
    }
}
