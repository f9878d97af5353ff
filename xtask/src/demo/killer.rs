//! When to kill a worker.

use super::api::Counts;

/// Spreads the kills over the run by the progress of verdicts, not by the clock: the `k`-th of `K`
/// comes when `k/(K+1)` of the orders have their verdict and sagas are in flight.
#[derive(Debug)]
pub(crate) struct Killer {
    orders: usize,
    wanted: usize,
    kills: usize,
}

impl Killer {
    /// A killer that is to strike `wanted` times in a run of `orders`.
    pub(crate) fn new(orders: usize, wanted: usize) -> Self {
        Self { orders, wanted, kills: 0 }
    }

    /// Whether the next kill is due.
    pub(crate) fn is_due(&self, counts: &Counts) -> bool {
        let verdicts_needed = (self.kills + 1) * self.orders / (self.wanted + 1);
        !self.is_done() && counts.moving() > 0 && counts.verdicts() >= verdicts_needed
    }

    /// Notes that a worker was killed.
    pub(crate) fn struck(&mut self) {
        self.kills += 1;
    }

    /// How often a worker was killed.
    pub(crate) fn kills(&self) -> usize {
        self.kills
    }

    /// Whether every kill has been done.
    pub(crate) fn is_done(&self) -> bool {
        self.kills == self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(running: usize, completed: usize) -> Counts {
        Counts { running, completed, ..Counts::default() }
    }

    #[test]
    fn two_kills_come_at_a_third_and_at_two_thirds_of_the_verdicts() {
        let mut killer = Killer::new(60, 2);
        assert!(!killer.is_due(&counts(41, 19)));
        assert!(killer.is_due(&counts(40, 20)));
        killer.struck();
        assert!(!killer.is_due(&counts(40, 20)));
        assert!(killer.is_due(&counts(20, 40)));
        killer.struck();
        assert!(killer.is_done() && !killer.is_due(&counts(10, 50)));
    }

    #[test]
    fn nothing_is_killed_while_no_saga_is_in_flight() {
        assert!(!Killer::new(60, 2).is_due(&counts(0, 30)));
    }

    #[test]
    fn a_single_order_is_caught_in_flight() {
        assert!(Killer::new(1, 1).is_due(&counts(1, 0)));
    }
}
