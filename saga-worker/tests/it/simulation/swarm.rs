//! What goes wrong under one seed, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// Dice of their own for one part of the world.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.roll())
    }

    pub(crate) fn roll(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn hits(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// A time up to `most_ms` milliseconds.
    pub(crate) fn time(&self, most_ms: u64) -> Duration {
        Duration::from_micros(self.below(most_ms * 1_000))
    }
}

/// Rates per thousand calls, and whether a kind of disaster happens at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Swarm {
    pub(crate) store_before: u64,
    pub(crate) store_after: u64,
    pub(crate) store_late: u64,
    pub(crate) store_slow: u64,
    pub(crate) request_lost: u64,
    pub(crate) reply_lost: u64,
    pub(crate) delivered_late: u64,
    pub(crate) duplicated: u64,
    pub(crate) slow_answer: u64,
    pub(crate) rejected: u64,
    pub(crate) undo_refused: u64,
    pub(crate) aborts: u64,
    pub(crate) shutdowns: u64,
    pub(crate) freezes: u64,
    pub(crate) outages: u64,
    pub(crate) zombies: u64,
    pub(crate) commands: u64,
    pub(crate) touchy_breaker: u64,
    pub(crate) deadline: u64,
}

impl Swarm {
    /// A tenth of the seeds is free of faults, a tenth has one kind, the others about half of them.
    pub(crate) fn of(dice: &Dice) -> Self {
        let mut swarm = Self::default();
        let kind = dice.below(10);
        let mut rates = swarm.rates();
        let only = dice.below(rates.len() as u64) as usize;
        for (index, (rate, most)) in rates.iter_mut().enumerate() {
            let on = match kind {
                0 => false,
                1 => index == only,
                _ => dice.below(2) == 0,
            };
            **rate = if on { 1 + dice.below(*most) } else { 0 };
        }
        swarm
    }

    fn rates(&mut self) -> [(&mut u64, u64); 19] {
        [
            (&mut self.store_before, 80),
            (&mut self.store_after, 80),
            (&mut self.store_late, 40),
            (&mut self.store_slow, 80),
            (&mut self.request_lost, 120),
            (&mut self.reply_lost, 120),
            (&mut self.delivered_late, 120),
            (&mut self.duplicated, 120),
            (&mut self.slow_answer, 120),
            (&mut self.rejected, 250),
            (&mut self.undo_refused, 120),
            (&mut self.aborts, 3),
            (&mut self.shutdowns, 2),
            (&mut self.freezes, 3),
            (&mut self.outages, 1),
            (&mut self.zombies, 3),
            (&mut self.commands, 400),
            (&mut self.touchy_breaker, 1),
            (&mut self.deadline, 1),
        ]
    }
}
