//! A circuit breaker as a value: it counts answers and says whether a call may go out.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Closed
//!     Closed --> Open: failures reach the threshold
//!     Open --> HalfOpen: open_ms have passed
//!     HalfOpen --> Open: a probe failed
//!     HalfOpen --> Releasing: probes_to_close succeeded
//!     Releasing --> Closed: the last wave is out
//!     Releasing --> Open: failures reach the threshold
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Slots of the sliding window; the window moves in steps of a twelfth of its length.
const SLOTS: usize = 12;

/// When a breaker opens, how it probes, and how it releases those who waited.
///
/// The defaults 15 failures, 20 calls and 60 s are the source design's. The
/// share of failures beside them keeps a busy, nearly healthy participant
/// (15 failures among 100,000 calls) from being cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerPolicy {
    /// Failures within the window that open the breaker.
    pub failures_to_open: u32,
    /// Calls within the window before it may open.
    pub calls_min: u32,
    /// Failures must also be at least this share of the window's calls, in percent.
    pub failure_percent_min: u32,
    /// Length of the sliding window, in milliseconds.
    pub window_ms: u64,
    /// How long it stays open before probing, in milliseconds.
    pub open_ms: u64,
    /// Probes in flight at once while half-open.
    pub probes_max: u32,
    /// Successful probes that close it.
    pub probes_to_close: u32,
    /// Calls of the first wave after closing; each later wave is twice as large.
    pub wave_calls: u32,
    /// Length of one wave, in milliseconds.
    pub wave_ms: u64,
    /// Number of waves until every call passes again.
    pub waves: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures_to_open: 15,
            calls_min: 20,
            failure_percent_min: 50,
            window_ms: 60_000,
            open_ms: 10_000,
            probes_max: 3,
            probes_to_close: 3,
            wave_calls: 8,
            wave_ms: 250,
            waves: 6,
        }
    }
}

impl BreakerPolicy {
    /// What is wrong with the figures, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let positive = [
            ("failures_to_open", u64::from(self.failures_to_open)),
            ("window_ms", self.window_ms),
            ("open_ms", self.open_ms),
            ("probes_max", u64::from(self.probes_max)),
            ("probes_to_close", u64::from(self.probes_to_close)),
            ("wave_calls", u64::from(self.wave_calls)),
            ("wave_ms", self.wave_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("breaker {name} is 0: expected at least 1"));
        }
        (self.failure_percent_min > 100)
            .then(|| "breaker failure_percent_min is over 100: expected 0 to 100".to_owned())
    }
}

/// The breaker of one participant.
///
/// ```
/// use saga_core::{Admission, Breaker, BreakerPolicy, CallResult, Timestamp};
///
/// let mut breaker = Breaker::new(BreakerPolicy::default());
/// let now = Timestamp::from_micros(0);
/// for _ in 0..20 {
///     let Admission::Go(permit) = breaker.admit(now) else { panic!("closed") };
///     breaker.settle(now, permit, CallResult::Failed);
/// }
/// assert!(matches!(breaker.admit(now), Admission::Held { .. }));
/// ```
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// Grows with every change of state: an answer to a call admitted in an earlier state is late.
    generation: u64,
    window: Window,
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    Open { until: Timestamp },
    HalfOpen { in_flight: u32, succeeded: u32 },
    Releasing { since: Timestamp, wave: u32, admitted: u32 },
}

/// Whether a call may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may; hand the permit back with the result.
    Go(Permit),
    /// It may not; ask again then. No attempt is spent.
    Held {
        /// The earliest moment at which asking again makes sense.
        until: Timestamp,
    },
}

/// The right to make one call, tied to the breaker's state when it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    generation: u64,
}

/// How a permitted call ended, as far as the participant's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It answered (a rejection is an answer).
    Answered,
    /// It failed, timed out or asked to be left alone.
    Failed,
    /// It was never made, or given up for a reason of our own.
    Abandoned,
}

/// A breaker's state for people and dashboards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Every call passes.
    Closed,
    /// No call passes.
    Open,
    /// Only probes pass.
    HalfOpen,
    /// Calls pass in growing waves.
    Releasing,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        let window = Window::new(policy.window_ms);
        Self { policy, state: State::Closed, generation: 0, window }
    }

    /// Asks for the right to make one call.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        self.turn_with_time(now);
        let held_until = match &mut self.state {
            State::Closed => None,
            State::Open { until } => Some(*until),
            State::HalfOpen { in_flight, .. } if *in_flight < self.policy.probes_max => {
                *in_flight += 1;
                None
            }
            State::HalfOpen { .. } => Some(now.after(Duration::from_secs(1))),
            State::Releasing { since, wave, admitted } => {
                let room = self.policy.wave_calls.saturating_mul(1 << (*wave).min(31));
                if *admitted < room {
                    *admitted += 1;
                    None
                } else {
                    Some(since.after(Duration::from_millis(
                        self.policy.wave_ms.saturating_mul(u64::from(*wave) + 1),
                    )))
                }
            }
        };
        match held_until {
            Some(until) => Admission::Held { until },
            None => Admission::Go(Permit { generation: self.generation }),
        }
    }

    /// Takes the result of a permitted call. A result from before the last change of state is ignored.
    pub fn settle(&mut self, now: Timestamp, permit: Permit, result: CallResult) {
        if permit.generation != self.generation {
            return;
        }
        if let State::HalfOpen { in_flight, succeeded } = &mut self.state {
            *in_flight = in_flight.saturating_sub(1);
            match result {
                CallResult::Answered => *succeeded += 1,
                CallResult::Failed => return self.open(now),
                CallResult::Abandoned => {}
            }
            if *succeeded >= self.policy.probes_to_close {
                self.window = Window::new(self.policy.window_ms);
                self.change(State::Releasing { since: now, wave: 0, admitted: 0 });
            }
            return;
        }
        let (calls, failures) = match result {
            CallResult::Abandoned => return,
            CallResult::Answered => self.window.count(now, false),
            CallResult::Failed => self.window.count(now, true),
        };
        let share_reached = u64::from(failures) * 100
            >= u64::from(calls) * u64::from(self.policy.failure_percent_min);
        if failures >= self.policy.failures_to_open
            && calls >= self.policy.calls_min
            && share_reached
        {
            self.open(now);
        }
    }

    /// The state at `now`.
    pub fn state(&mut self, now: Timestamp) -> BreakerState {
        self.turn_with_time(now);
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Releasing { .. } => BreakerState::Releasing,
        }
    }

    /// Until when no call passes, while it is open.
    pub fn open_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.turn_with_time(now);
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen { .. } | State::Releasing { .. } => None,
        }
    }

    fn open(&mut self, now: Timestamp) {
        let until = now.after(Duration::from_millis(self.policy.open_ms));
        self.change(State::Open { until });
    }

    fn turn_with_time(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Open { until } if now >= *until => {
                self.change(State::HalfOpen { in_flight: 0, succeeded: 0 });
            }
            State::Releasing { since, wave, admitted } => {
                let elapsed = now.since(*since).as_millis() / u128::from(self.policy.wave_ms);
                let current = u32::try_from(elapsed).unwrap_or(u32::MAX);
                if current >= self.policy.waves {
                    // The generation stays: calls of the last waves still count in the window.
                    self.state = State::Closed;
                } else if current > *wave {
                    (*wave, *admitted) = (current, 0);
                }
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => {}
        }
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

/// Calls and failures of the last `window_ms`, in twelve slots.
#[derive(Clone, Debug)]
struct Window {
    slot_micros: i64,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: i64,
    calls: u32,
    failures: u32,
}

impl Window {
    fn new(window_ms: u64) -> Self {
        let micros = i64::try_from(window_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let slots = [Slot { number: i64::MIN, calls: 0, failures: 0 }; SLOTS];
        Self { slot_micros: (micros / SLOTS as i64).max(1), slots }
    }

    /// Counts one call and returns the sums over the window.
    fn count(&mut self, now: Timestamp, failed: bool) -> (u32, u32) {
        let number = now.as_micros().div_euclid(self.slot_micros);
        let slot = &mut self.slots[number.rem_euclid(SLOTS as i64) as usize];
        if slot.number != number {
            *slot = Slot { number, calls: 0, failures: 0 };
        }
        slot.calls = slot.calls.saturating_add(1);
        slot.failures = slot.failures.saturating_add(u32::from(failed));
        let oldest = number - SLOTS as i64;
        self.slots.iter().filter(|slot| slot.number > oldest).fold(
            (0, 0),
            |(calls, failures), slot| {
                (calls.saturating_add(slot.calls), failures.saturating_add(slot.failures))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    fn go(breaker: &mut Breaker, now: Timestamp) -> Permit {
        match breaker.admit(now) {
            Admission::Go(permit) => permit,
            Admission::Held { until } => panic!("held until {until}"),
        }
    }

    fn call(breaker: &mut Breaker, now: Timestamp, result: CallResult) {
        let permit = go(breaker, now);
        breaker.settle(now, permit, result);
    }

    fn opened(now: Timestamp) -> Breaker {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        (0..20).for_each(|_| call(&mut breaker, now, CallResult::Failed));
        assert_eq!(breaker.state(now), BreakerState::Open);
        breaker
    }

    #[test]
    fn fifteen_failures_do_not_open_it_before_twenty_calls() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        (0..19).for_each(|_| call(&mut breaker, at(0), CallResult::Failed));
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
        call(&mut breaker, at(0), CallResult::Failed);
        assert_eq!(breaker.state(at(0)), BreakerState::Open);
    }

    #[test]
    fn a_nearly_healthy_busy_participant_is_not_cut_off() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        (0..1_000).for_each(|_| call(&mut breaker, at(0), CallResult::Answered));
        (0..500).for_each(|_| call(&mut breaker, at(1), CallResult::Failed));
        assert_eq!(breaker.state(at(1)), BreakerState::Closed);
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        (0..19).for_each(|_| call(&mut breaker, at(0), CallResult::Failed));
        call(&mut breaker, at(61_000), CallResult::Failed);
        assert_eq!(breaker.state(at(61_000)), BreakerState::Closed);
    }

    #[test]
    fn while_open_calls_are_held_until_it_probes() {
        let mut breaker = opened(at(0));
        assert_eq!(breaker.admit(at(9_999)), Admission::Held { until: at(10_000) });
        assert!(matches!(breaker.admit(at(10_000)), Admission::Go(_)));
    }

    #[test]
    fn half_open_admits_no_more_probes_than_allowed_however_many_ask() {
        let mut breaker = opened(at(0));
        let admitted = (0..50).filter(|_| matches!(breaker.admit(at(10_000)), Admission::Go(_)));
        assert_eq!(admitted.count(), 3);
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_an_abandoned_one_frees_its_place() {
        let mut breaker = opened(at(0));
        (0..10).for_each(|_| call(&mut breaker, at(10_000), CallResult::Abandoned));
        assert_eq!(breaker.state(at(10_000)), BreakerState::HalfOpen);
        call(&mut breaker, at(10_000), CallResult::Failed);
        assert_eq!(breaker.admit(at(10_001)), Admission::Held { until: at(20_000) });
    }

    #[test]
    fn an_answer_from_before_it_opened_is_ignored() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        let late: Vec<_> = (0..5).map(|_| go(&mut breaker, at(0))).collect();
        (0..20).for_each(|_| call(&mut breaker, at(0), CallResult::Failed));
        assert_eq!(breaker.state(at(10_000)), BreakerState::HalfOpen);
        late.into_iter().for_each(|permit| breaker.settle(at(10_000), permit, CallResult::Failed));
        assert_eq!(breaker.state(at(10_000)), BreakerState::HalfOpen);
    }

    #[test]
    fn after_closing_waiters_are_released_in_waves_that_double() {
        let mut breaker = opened(at(0));
        (0..3).for_each(|_| call(&mut breaker, at(10_000), CallResult::Answered));
        let mut released = Vec::new();
        for wave in 0..7 {
            let now = at(10_000 + wave * 250);
            let admitted = (0..1_000).filter(|_| matches!(breaker.admit(now), Admission::Go(_)));
            released.push(admitted.count());
        }
        assert_eq!(released, [8, 16, 32, 64, 128, 256, 1_000]);
    }

    #[test]
    fn a_waiter_held_back_by_a_wave_is_told_when_the_next_one_starts() {
        let mut breaker = opened(at(0));
        (0..3).for_each(|_| call(&mut breaker, at(10_000), CallResult::Answered));
        (0..8).for_each(|_| assert!(matches!(breaker.admit(at(10_010)), Admission::Go(_))));
        assert_eq!(breaker.admit(at(10_010)), Admission::Held { until: at(10_250) });
    }
}
