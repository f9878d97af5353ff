//! Tickets: a key's right to open one stream, for clients that cannot send headers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::access::{Held, secret, sha256};
use crate::problem::{Kind, Problem};

/// How long a ticket is good for.
pub(crate) const VALID: Duration = Duration::from_secs(30);
/// Most tickets that are good at a time.
const TICKETS_MAX: usize = 10_000;

/// The tickets that were given and not used. Kept in this process alone, and by their digests.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<HashMap<[u8; 32], (Held, Instant)>>);

impl Tickets {
    /// A new ticket for the holder of a key.
    ///
    /// # Errors
    /// A problem when too many are waiting to be used.
    pub(crate) fn give(&self, held: Held, now: Instant) -> Result<String, Problem> {
        let mut tickets = self.lock();
        tickets.retain(|_, (_, until)| *until > now);
        if tickets.len() >= TICKETS_MAX {
            let detail =
                format!("{TICKETS_MAX} tickets wait to be used: come back when some have run out");
            return Err(Problem::new(Kind::TooManyTickets, detail));
        }
        let text = format!("tk_{}", secret());
        tickets.insert(sha256(&text), (held, now + VALID));
        Ok(text)
    }

    /// Whose ticket this was. It is good for nothing afterwards.
    pub(crate) fn redeem(&self, text: &str, now: Instant) -> Option<Held> {
        let (held, until) = self.lock().remove(&sha256(text))?;
        (until > now).then_some(held)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Held, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ApiKeys, Principal, Role};

    fn held() -> Held {
        ApiKeys::default().hold(&Principal { key: None, role: Role::Viewer })
    }

    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let [used, late] = [(); 2].map(|()| tickets.give(held(), now).unwrap());
        assert_ne!(used, late);
        assert!(tickets.redeem("tk_guess", now).is_none());
        assert!(tickets.redeem(&used, now + VALID / 2).is_some());
        assert!(tickets.redeem(&used, now + VALID / 2).is_none(), "a second time");
        assert!(tickets.redeem(&late, now + VALID).is_none(), "too late");
    }

    #[test]
    fn tickets_are_bounded_and_make_room_when_they_run_out() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..TICKETS_MAX {
            tickets.give(held(), now).unwrap();
        }
        let refused = tickets.give(held(), now).unwrap_err();
        assert_eq!(refused.kind(), Kind::TooManyTickets);
        assert!(tickets.give(held(), now + VALID).is_ok());
    }
}
