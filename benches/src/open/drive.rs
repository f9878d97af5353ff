//! The open loop: sagas are started when the schedule says so, whatever became of the ones before.
//!
//! A thread of its own lets one more saga in at each arrival. Lanes take them up: tasks that start
//! one saga after the other and wait for its end. As long as a lane is free a saga starts at its
//! time; when none is, it waits, and because its latency counts from the time at which it was to
//! arrive, the waiting is charged to the system under test and never left out.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::generator::Generator;
use super::recorder::{End, Recorder};

/// From the call of [`drive`] to the first moment of the schedule: time to spawn the lanes.
const LEAD: Duration = Duration::from_millis(100);

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock whose run begins in a moment.
    pub(crate) fn new() -> Self {
        Self(Instant::now() + LEAD)
    }

    /// Since the beginning of the run.
    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn instant(self, at: Duration) -> Instant {
        self.0 + at
    }
}

/// Starts every saga of the schedule at its time and records how each ended. What has not ended
/// `drain` after the last arrival is recorded with the time it has waited so far: as alive where a
/// client has begun with it, which may have started it, and as not reached otherwise.
pub(crate) async fn drive<C, F>(
    generator: &Arc<Generator>,
    clock: Clock,
    drain: Duration,
    recorder: &Arc<Recorder>,
    call: C,
) where
    C: Fn(u64) -> F + Clone + Send + 'static,
    F: Future<Output = End> + Send,
{
    let gate = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    for lane in 0..generator.lanes() {
        let (gate, generator) = (gate.clone(), generator.clone());
        let (recorder, call) = (recorder.clone(), call.clone());
        tasks.spawn(async move {
            while let Ok(permit) = gate.acquire().await {
                permit.forget();
                let Some((arrival, due)) = generator.enter(lane) else { return };
                let end = call(arrival).await;
                recorder.note(due, clock.now(), &end);
                generator.leave(lane);
            }
        });
    }
    let opener = open_in_time(generator.clone(), clock, gate);
    let schedule = generator.schedule();
    let until = clock.instant(schedule.length() + drain);
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout_at(until.into(), all_ended).await;
    tasks.shutdown().await;
    // It has nothing left to wait for: its last arrival is before the drain.
    let _ = tokio::task::spawn_blocking(move || opener.join()).await;
    let now = clock.now();
    for due in generator.under_way().filter_map(|arrival| schedule.at(arrival)) {
        let end = End::Alive("without an end when the drain was over".to_owned());
        recorder.note(due, now, &end);
    }
    for due in generator.untouched().filter_map(|arrival| schedule.at(arrival)) {
        recorder.not_reached(due, now);
    }
}

/// Lets sagas in at their time, and in the end every lane out. A thread, because the timers of the
/// runtime are a millisecond coarse, which is longer than a saga takes.
fn open_in_time(
    generator: Arc<Generator>,
    clock: Clock,
    gate: Arc<Semaphore>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let schedule = generator.schedule();
        let mut arrival = 0;
        while let Some(due) = schedule.at(arrival) {
            thread::sleep(clock.instant(due).saturating_duration_since(Instant::now()));
            let now = clock.now();
            let first = arrival;
            while schedule.at(arrival).is_some_and(|due| due <= now) {
                arrival += 1;
            }
            generator.let_in(first, arrival, now);
            gate.add_permits((arrival - first) as usize);
        }
        gate.add_permits(generator.lanes());
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::schedule::{Schedule, Spacing};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A system that answers at once, but in one second, in which it answers nothing.
    async fn stalling(clock: Clock, stall: std::ops::Range<Duration>) -> End {
        let now = clock.now();
        if stall.contains(&now) {
            tokio::time::sleep(stall.end - now).await;
        }
        End::Completed
    }

    async fn run(lanes: u32) -> crate::open::recorder::Recorded {
        let ramp = "200:200:3s".parse().unwrap();
        let schedule = Arc::new(Schedule::new(ramp, Spacing::Even, 1).unwrap());
        let recorder = Arc::new(Recorder::new(ms(0), schedule.length(), None));
        let generator = Arc::new(Generator::new(schedule.clone(), ms(0), lanes));
        let clock = Clock::new();
        let call = move |_| stalling(clock, ms(1_000)..ms(2_000));
        drive(&generator, clock, ms(60_000), &recorder, call).await;
        let recorded = recorder.finish();
        assert_eq!(recorded.latencies.count, schedule.arrivals());
        recorded
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stall_is_charged_to_every_saga_that_was_to_arrive_in_it() {
        let recorded = run(512).await;
        assert_eq!(recorded.ends.completed, 599);
        // A third of the sagas arrive in the stall and wait half of it on average. A client that
        // waits for one answer before its next request would have met it once.
        let above = |percentile: f64| {
            recorded.latencies.percentiles.iter().find(|(p, _)| *p == percentile).unwrap().1
        };
        assert!(above(99.0) > 900.0, "{:?}", recorded.latencies);
        assert!(above(90.0) > 600.0, "{:?}", recorded.latencies);
        let stalled = &recorded.seconds[1];
        assert!(stalled.max_ms > 950.0 && stalled.p50_ms > 400.0, "{stalled:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stall_is_charged_as_well_where_there_is_one_lane_only() {
        let recorded = run(1).await;
        assert_eq!(recorded.ends.completed, 599);
        assert!(recorded.latencies.p99_ms > 900.0, "{:?}", recorded.latencies);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_never_ends_is_recorded_with_the_time_it_has_waited() {
        let ramp = "100:100:1s".parse().unwrap();
        let schedule = Arc::new(Schedule::new(ramp, Spacing::Even, 1).unwrap());
        let recorder = Arc::new(Recorder::new(ms(0), schedule.length(), None));
        let generator = Arc::new(Generator::new(schedule, ms(0), 10));
        let never = |_| std::future::pending();
        drive(&generator, Clock::new(), ms(500), &recorder, never).await;
        let recorded = recorder.finish();
        assert_eq!((recorded.ends.alive, recorded.ends.not_reached), (10, 89));
        assert_eq!(recorded.seconds.iter().map(|second| second.ended).sum::<u64>(), 0);
        assert!(recorded.latencies.max_ms >= 1_400.0, "{:?}", recorded.latencies);
    }
}
