//! How the load generator itself does: whether it let sagas in at their time, and whether it had a
//! client for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::recorder::{histogram, micros, ms};
use super::schedule::Schedule;

/// What the generator is doing, for all of its parts at once.
#[derive(Debug)]
pub(crate) struct Generator {
    schedule: Arc<Schedule>,
    warm_up: Duration,
    /// Which arrival each lane is at.
    lanes: Vec<AtomicU64>,
    /// How many arrivals lanes are done with.
    done: AtomicU64,
    /// The first arrival that no lane has taken up.
    next: AtomicU64,
    // A std mutex: held for a few additions, never across an await.
    seen: Mutex<Seen>,
}

/// No arrival.
const NOTHING: u64 = u64::MAX;

#[derive(Debug)]
struct Seen {
    late: Histogram<u64>,
    waited: u64,
}

/// How well the generator did, of the sagas that count; requests are those of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Diligence {
    /// How long after their time sagas were let in. It is part of their latency.
    pub(crate) late_p99_ms: f64,
    pub(crate) late_max_ms: f64,
    /// Sagas that had to wait because as many as `--in-flight-max` were under way.
    pub(crate) waited: u64,
    /// Requests that were made again because the first got no answer, or one that says so.
    pub(crate) repeats: u64,
}

impl Generator {
    pub(crate) fn new(schedule: Arc<Schedule>, warm_up: Duration, lanes: u32) -> Self {
        Self {
            schedule,
            warm_up,
            lanes: (0..lanes).map(|_| AtomicU64::new(NOTHING)).collect(),
            done: AtomicU64::new(0),
            next: AtomicU64::new(0),
            seen: Mutex::new(Seen { late: histogram(3), waited: 0 }),
        }
    }

    pub(super) fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Sagas are let in, from this arrival to the one before `until`.
    pub(super) fn let_in(&self, first: u64, until: u64, now: Duration) {
        let free_up_to = self.done.load(Ordering::Acquire) + self.lanes.len() as u64;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for arrival in first..until {
            if let Some(due) = self.schedule.at(arrival).filter(|due| *due >= self.warm_up) {
                seen.late.saturating_record(micros(now.saturating_sub(due)));
                seen.waited += u64::from(arrival >= free_up_to);
            }
        }
    }

    /// A lane takes up the next arrival, if there is one left.
    pub(super) fn enter(&self, lane: usize) -> Option<(u64, Duration)> {
        let arrival = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.schedule.at(arrival)?;
        self.lanes[lane].store(arrival, Ordering::Release);
        Some((arrival, due))
    }

    pub(super) fn leave(&self, lane: usize) {
        self.lanes[lane].store(NOTHING, Ordering::Release);
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    /// The arrivals that lanes are at.
    pub(super) fn under_way(&self) -> impl Iterator<Item = u64> {
        let all = self.lanes.iter().map(|lane| lane.load(Ordering::Acquire));
        all.filter(|arrival| *arrival != NOTHING)
    }

    /// The arrivals that no lane has taken up.
    pub(super) fn untouched(&self) -> std::ops::Range<u64> {
        self.next.load(Ordering::Relaxed)..self.schedule.arrivals()
    }

    /// How many have arrived by then.
    pub(crate) fn arrived_by(&self, at: Duration) -> u64 {
        self.schedule.arrived_by(at)
    }

    /// For how long the oldest of all sagas that have arrived has been waiting for its end.
    pub(crate) fn oldest(&self, now: Duration) -> Duration {
        let first = self.under_way().chain(self.untouched().next()).min();
        let due = first.and_then(|arrival| self.schedule.at(arrival));
        due.map_or(Duration::ZERO, |due| now.saturating_sub(due))
    }

    pub(crate) fn finish(&self, repeats: u64) -> Diligence {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Diligence {
            late_p99_ms: ms(seen.late.value_at_quantile(0.99)),
            late_max_ms: ms(seen.late.max()),
            waited: seen.waited,
            repeats,
        }
    }
}

impl Diligence {
    /// In words, for the terminal and the page.
    pub(crate) fn words(&self, all: u64) -> String {
        let Self { late_p99_ms, late_max_ms, waited, repeats } = self;
        format!(
            "the generator let sagas in {late_p99_ms:.1} ms late at p99 ({late_max_ms:.1} ms at most); \
             {waited} of {all} waited for one of its clients; {repeats} requests were repeated"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::schedule::Spacing;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// An arrival every 100 ms, of which those from 500 ms on count.
    fn generator(lanes: u32) -> Generator {
        let ramp = "10:10:2s".parse().unwrap();
        let schedule = Arc::new(Schedule::new(ramp, Spacing::Even, 1).unwrap());
        Generator::new(schedule, at(500), lanes)
    }

    #[test]
    fn sagas_that_are_let_in_late_tell_by_how_much() {
        let generator = generator(8);
        generator.let_in(0, 1, at(400));
        assert_eq!(generator.finish(0).late_max_ms, 0.0, "the warm-up counts for nothing");
        generator.let_in(4, 6, at(900));
        let late = generator.finish(0);
        assert!((late.late_max_ms - 400.0).abs() < 1.0, "{late:?}");
        assert_eq!(late.waited, 0);
    }

    #[test]
    fn sagas_that_find_every_client_at_work_are_counted() {
        let generator = generator(2);
        for nth in 0..6 {
            assert_eq!(generator.enter(0).map(|(arrival, _)| arrival), Some(nth));
            generator.leave(0);
        }
        // Of four at once two find a client.
        generator.let_in(6, 10, at(1_100));
        assert_eq!(generator.finish(0).waited, 2);
        for _ in 0..4 {
            generator.enter(0);
            generator.leave(0);
        }
        generator.let_in(10, 12, at(1_300));
        assert_eq!(generator.finish(0).waited, 2);
    }

    #[test]
    fn the_oldest_is_under_way_or_has_not_been_taken_up() {
        let generator = generator(2);
        assert_eq!(generator.oldest(at(50)), at(0), "nothing has arrived");
        assert_eq!(generator.oldest(at(150)), at(50));
        generator.enter(0);
        generator.enter(1);
        assert_eq!(generator.oldest(at(400)), at(300));
        generator.leave(0);
        assert_eq!(generator.oldest(at(400)), at(200));
        generator.leave(1);
        assert_eq!(generator.oldest(at(400)), at(100));
    }
}
