//! What a run saw: latencies from the intended arrival, and how sagas ended.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, in microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// The percentiles of a report.
const PERCENTILES: [f64; 12] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0];

/// How one saga ended, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Compensated,
    /// An operator's verdict; nobody is there to give one.
    Stopped,
    /// No verdict in time; where it stood.
    Alive(String),
    /// It could not be started, and why.
    NotStarted(String),
}

impl End {
    /// Whether it is what the client came for. All else counts with the time it was waited for, and as
    /// no verdict.
    pub(crate) fn is_verdict(&self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Stopped)
    }
}

/// How many sagas ended in each way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ends {
    pub(crate) completed: u64,
    pub(crate) compensated: u64,
    pub(crate) stopped: u64,
    /// Without a verdict when the run gave up waiting.
    pub(crate) alive: u64,
    pub(crate) not_started: u64,
    /// Arrivals that no client had got to when the run gave up waiting.
    pub(crate) not_reached: u64,
}

impl Ends {
    pub(crate) fn all(&self) -> u64 {
        let Self { completed, compensated, stopped, alive, not_started, not_reached } = self;
        completed + compensated + stopped + alive + not_started + not_reached
    }

    fn count(&mut self, end: &End) {
        *match end {
            End::Completed => &mut self.completed,
            End::Compensated => &mut self.compensated,
            End::Stopped => &mut self.stopped,
            End::Alive(_) => &mut self.alive,
            End::NotStarted(_) => &mut self.not_started,
        } += 1;
    }
}

/// Latencies of sagas with a verdict, and of the others as long as they were waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Pairs of percentile and milliseconds.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

impl Latencies {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |percentile| ms(histogram.value_at_percentile(percentile));
        Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1_000.0,
            p50_ms: at(50.0),
            p99_ms: at(99.0),
            max_ms: ms(histogram.max()),
            percentiles: PERCENTILES.map(|percentile| (percentile, at(percentile))).into(),
        }
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Sagas that were to arrive in it.
    pub(crate) arrived: u64,
    /// Verdicts that were given in it.
    pub(crate) ended: u64,
    /// Of the sagas that arrived in it, those without a verdict of completed.
    pub(crate) not_completed: u64,
    /// Latencies of the sagas that arrived in it.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// A part of the run that has figures of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) from_s: f64,
    pub(crate) until_s: f64,
    pub(crate) ends: Ends,
    pub(crate) latencies: Latencies,
}

/// Collects from all clients at once.
#[derive(Debug)]
// A std mutex: held for a few additions, never across an await.
pub(crate) struct Recorder(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    warm_up: Duration,
    phases: Vec<OpenPhase>,
    seconds: Vec<OpenSecond>,
    reasons: Vec<String>,
    refused: u64,
    all: Histogram<u64>,
    ends: Ends,
    ended_all: u64,
}

#[derive(Debug)]
struct OpenPhase {
    name: String,
    from: f64,
    until: f64,
    ends: Ends,
    latencies: Histogram<u64>,
}

#[derive(Debug)]
struct OpenSecond {
    figures: Second,
    latencies: Histogram<u64>,
}

/// What a recorder has when the run is over.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) ends: Ends,
    pub(crate) latencies: Latencies,
    pub(crate) phases: Vec<Phase>,
    pub(crate) seconds: Vec<Second>,
    /// The first reasons of those that did not end well.
    pub(crate) reasons: Vec<String>,
    /// Sagas that could not be started, those of the warm-up included.
    pub(crate) refused: u64,
}

impl Recorder {
    /// `troubles`: from when to when something goes wrong, in seconds; each is a phase, and so is
    /// the calm between. What arrives in the warm-up shows in the seconds and counts for nothing else.
    pub(crate) fn new(
        warm_up: Duration,
        length: Duration,
        troubles: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let (begin, end) = (warm_up.as_secs_f64(), length.as_secs_f64());
        let phase = |(name, from, until): (String, f64, f64)| OpenPhase {
            name,
            from: from.max(begin),
            until: until.min(end),
            ends: Ends::default(),
            latencies: histogram(3),
        };
        let phases = named(apart(troubles), end).into_iter().map(phase);
        Self(Mutex::new(Inner {
            warm_up,
            phases: phases.filter(|phase| phase.from < phase.until).collect(),
            seconds: Vec::new(),
            reasons: Vec::new(),
            refused: 0,
            all: histogram(3),
            ends: Ends::default(),
            ended_all: 0,
        }))
    }

    /// Takes note of a saga: when it was to arrive, and when its client had its end in hands.
    pub(crate) fn note(&self, due: Duration, ended: Duration, end: &End) {
        self.with(|inner| inner.note(due, ended, end));
    }

    /// Takes note of an arrival that nobody got to before `now`.
    pub(crate) fn not_reached(&self, due: Duration, now: Duration) {
        self.with(|inner| inner.not_reached(due, now));
    }

    /// Verdicts so far, and the 99th percentile of the last second that is over.
    pub(crate) fn glance(&self, second: usize) -> (u64, f64) {
        self.with(|inner| {
            let over = second.checked_sub(1).and_then(|at| inner.seconds.get(at));
            (inner.ended_all, over.map_or(0.0, |over| ms(over.latencies.value_at_quantile(0.99))))
        })
    }

    pub(crate) fn finish(&self) -> Recorded {
        self.with(|inner| Recorded {
            ends: inner.ends.clone(),
            latencies: Latencies::of(&inner.all),
            phases: inner.phases.iter().map(OpenPhase::close).collect(),
            seconds: inner.seconds.iter().map(OpenSecond::close).collect(),
            reasons: inner.reasons.clone(),
            refused: inner.refused,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Windows in order, those that overlap as one.
fn apart(windows: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut windows: Vec<_> = windows.into_iter().collect();
    windows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut apart: Vec<(f64, f64)> = Vec::new();
    for (from, until) in windows {
        match apart.last_mut() {
            Some(last) if from < last.1 => last.1 = last.1.max(until),
            _ => apart.push((from, until)),
        }
    }
    apart
}

/// The phases of a run by name, with a number where there are several windows.
fn named(windows: Vec<(f64, f64)>, end: f64) -> Vec<(String, f64, f64)> {
    let first = windows.first().map_or(end, |window| window.0);
    let mut phases = vec![("healthy".to_owned(), 0.0, first)];
    let several = windows.len() > 1;
    for (nth, &(from, until)) in windows.iter().enumerate() {
        let number = if several { format!(" {}", nth + 1) } else { String::new() };
        let next = windows.get(nth + 1).map_or(end, |next| next.0);
        phases.push((format!("trouble{number}"), from, until));
        phases.push((format!("after{number}"), until, next));
    }
    phases
}

impl Inner {
    fn note(&mut self, due: Duration, ended: Duration, end: &End) {
        let micros = micros(ended.saturating_sub(due));
        let second = self.second(due);
        second.figures.arrived += 1;
        second.figures.not_completed += u64::from(*end != End::Completed);
        second.latencies.saturating_record(micros);
        if end.is_verdict() {
            self.second(ended).figures.ended += 1;
            self.ended_all += 1;
        }
        self.refused += u64::from(matches!(end, End::NotStarted(_)));
        if let End::Alive(why) | End::NotStarted(why) = end
            && self.reasons.len() < 10
            && !self.reasons.contains(why)
        {
            self.reasons.push(why.clone());
        }
        self.measured(due, micros, |ends| ends.count(end));
    }

    fn not_reached(&mut self, due: Duration, now: Duration) {
        let micros = micros(now.saturating_sub(due));
        let second = self.second(due);
        second.figures.arrived += 1;
        second.figures.not_completed += 1;
        second.latencies.saturating_record(micros);
        self.measured(due, micros, |ends| ends.not_reached += 1);
    }

    fn measured(&mut self, due: Duration, micros: u64, count: impl Fn(&mut Ends)) {
        if due < self.warm_up {
            return;
        }
        self.all.saturating_record(micros);
        count(&mut self.ends);
        let at = due.as_secs_f64();
        let phase = self.phases.iter_mut().find(|phase| (phase.from..phase.until).contains(&at));
        if let Some(phase) = phase {
            phase.latencies.saturating_record(micros);
            count(&mut phase.ends);
        }
    }

    fn second(&mut self, at: Duration) -> &mut OpenSecond {
        let index = usize::try_from(at.as_secs()).expect("a run is shorter than a day");
        while self.seconds.len() <= index {
            let figures = Second::default();
            self.seconds.push(OpenSecond { figures, latencies: histogram(2) });
        }
        &mut self.seconds[index]
    }
}

impl OpenPhase {
    fn close(&self) -> Phase {
        Phase {
            name: self.name.clone(),
            from_s: self.from,
            until_s: self.until,
            ends: self.ends.clone(),
            latencies: Latencies::of(&self.latencies),
        }
    }
}

impl OpenSecond {
    fn close(&self) -> Second {
        let Latencies { p50_ms, p99_ms, max_ms, .. } = Latencies::of(&self.latencies);
        Second { p50_ms, p99_ms, max_ms, ..self.figures.clone() }
    }
}

pub(super) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, digits).expect("the bounds are those of an hour")
}

pub(super) fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX).max(1)
}

pub(super) fn ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_warm_up_shows_in_the_seconds_and_counts_for_nothing() {
        let recorder = Recorder::new(at(1_000), at(3_000), None);
        recorder.note(at(500), at(900), &End::Completed);
        recorder.note(at(1_500), at(1_510), &End::Completed);
        let recorded = recorder.finish();
        assert_eq!((recorded.ends.completed, recorded.latencies.count), (1, 1));
        assert_eq!(recorded.seconds[0].arrived, 1);
        assert!((recorded.latencies.max_ms - 10.0).abs() < 0.1, "{:?}", recorded.latencies);
    }

    #[test]
    fn phases_go_by_when_a_saga_was_to_arrive() {
        let recorder = Recorder::new(at(0), at(30_000), Some((10.0, 20.0)));
        recorder.note(at(9_999), at(25_000), &End::Completed);
        recorder.note(at(10_000), at(10_001), &End::Compensated);
        recorder.not_reached(at(20_000), at(29_000));
        let phases = recorder.finish().phases;
        let ends: Vec<_> = phases.iter().map(|phase| (&*phase.name, phase.ends.all())).collect();
        assert_eq!(ends, [("healthy", 1), ("trouble", 1), ("after", 1)]);
        assert_eq!(phases[1].ends.compensated, 1);
        assert!(phases[2].latencies.max_ms > 8_900.0, "waiting for nothing counts as well");
    }

    #[test]
    fn each_window_is_a_phase_and_so_is_the_calm_between() {
        let recorder = Recorder::new(at(0), at(30_000), [(20.0, 25.0), (3.0, 5.0), (4.0, 6.0)]);
        let phases = recorder.finish().phases;
        let spans: Vec<_> = phases.iter().map(|p| (&*p.name, p.from_s, p.until_s)).collect();
        assert_eq!(
            spans,
            [
                ("healthy", 0.0, 3.0),
                ("trouble 1", 3.0, 6.0),
                ("after 1", 6.0, 20.0),
                ("trouble 2", 20.0, 25.0),
                ("after 2", 25.0, 30.0)
            ]
        );
    }

    #[test]
    fn a_saga_that_was_not_started_is_no_verdict() {
        let recorder = Recorder::new(at(0), at(1_000), None);
        recorder.note(at(1), at(2), &End::NotStarted("401".to_owned()));
        recorder.note(at(1), at(2), &End::Alive("stuck".to_owned()));
        recorder.note(at(1), at(2), &End::Completed);
        assert_eq!(recorder.glance(0).0, 1);
        let recorded = recorder.finish();
        assert_eq!((recorded.seconds[0].ended, recorded.ends.all()), (1, 3));
    }

    #[test]
    fn reasons_are_kept_once() {
        let recorder = Recorder::new(at(0), at(1_000), None);
        for _ in 0..3 {
            recorder.note(at(1), at(2), &End::NotStarted("503".to_owned()));
        }
        let recorded = recorder.finish();
        assert_eq!((recorded.reasons.len(), recorded.ends.not_started), (1, 3));
    }

    #[test]
    fn what_is_refused_in_the_warm_up_is_remembered() {
        let recorder = Recorder::new(at(1_000), at(2_000), None);
        recorder.note(at(1), at(2), &End::NotStarted("503".to_owned()));
        let recorded = recorder.finish();
        assert_eq!((recorded.refused, recorded.ends.not_started), (1, 0));
    }
}
