//! What is looked at beside the load: the breakers, once a second, and the terminal shows how it goes.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::drive::Clock;
use super::generator::Generator;
use super::recorder::Recorder;
use super::target::{BreakerSample, Target};
use super::turns::Turns;

/// How often breakers are looked at and the terminal is written.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen of the breakers.
#[derive(Clone, Debug, Default)]
pub(crate) struct BreakersSeen {
    /// Those that were not closed.
    pub(crate) samples: Vec<BreakerSample>,
    /// The seconds at which nobody said how they are: the daemon stood still, or did not answer.
    pub(crate) unknown_s: Vec<f64>,
}

impl BreakersSeen {
    /// How they were when they were looked at last.
    fn last(&self, at: f64) -> String {
        if self.unknown_s.last().is_some_and(|last| *last >= at) {
            return "not known".to_owned();
        }
        let now = self.samples.iter().filter(|breaker| breaker.at_s >= at);
        let mut open: Vec<_> =
            now.map(|breaker| format!("{} {}", breaker.participant, breaker.state)).collect();
        open.dedup();
        if open.is_empty() { "all closed".to_owned() } else { open.join(", ") }
    }
}

/// Looks on.
#[derive(Debug)]
pub(crate) struct Sampler<'a> {
    target: &'a Target,
    recorder: &'a Arc<Recorder>,
    generator: &'a Arc<Generator>,
    clock: Clock,
    turns: Turns<'a>,
    seen: BreakersSeen,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        target: &'a Target,
        recorder: &'a Arc<Recorder>,
        generator: &'a Arc<Generator>,
        clock: Clock,
        turns: Turns<'a>,
    ) -> Self {
        Self { target, recorder, generator, clock, turns, seen: BreakersSeen::default() }
    }

    /// Goes on until it is dropped.
    pub(crate) async fn run(&mut self) {
        let mut next = LOOK;
        loop {
            sleep_until(self.clock.instant(next).into()).await;
            self.look(next).await;
            self.show(next);
            next += LOOK;
            // A look that took long costs those that it overlaps.
            while next + LOOK < self.clock.now() {
                self.seen.unknown_s.push(next.as_secs_f64());
                next += LOOK;
            }
        }
    }

    async fn look(&mut self, at: Duration) {
        let at = at.as_secs_f64();
        // A daemon that stands still has nothing to tell.
        let seen = match self.turns.is_frozen() {
            true => None,
            false => self.target.breakers(at).await,
        };
        match seen {
            Some(seen) => self.seen.samples.extend(seen),
            None => self.seen.unknown_s.push(at),
        }
    }

    fn show(&self, at: Duration) {
        let second = at.as_secs();
        let mut stderr = std::io::stderr();
        // A log gets a line now and then.
        if !stderr.is_terminal() && !second.is_multiple_of(10) {
            return;
        }
        let arrived = self.generator.arrived_by(at);
        let (ended, p99) = self.recorder.glance(at.as_secs() as usize);
        let oldest = self.generator.oldest(self.clock.now()).as_secs_f64();
        let line = format!(
            "{second:>4} s  arrived {arrived:>7}  ended {ended:>7}  under way {:>6}, oldest {oldest:>5.1} s  \
             p99 {p99:>8.1} ms  breakers: {}",
            arrived.saturating_sub(ended),
            self.seen.last(at.as_secs_f64())
        );
        // A terminal that is gone must not end the run.
        let _ = match stderr.is_terminal() {
            true => write!(stderr, "\r{line:<125}"),
            false => writeln!(stderr, "{line}"),
        };
        let _ = stderr.flush();
    }

    /// What was seen, and the last of the terminal's line.
    pub(crate) fn finish(self) -> BreakersSeen {
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breakers_that_nobody_told_of_are_not_known_and_not_closed() {
        let open = |at_s| BreakerSample {
            at_s,
            participant: "points".to_owned(),
            op: "action".to_owned(),
            state: "open".to_owned(),
        };
        let mut seen = BreakersSeen::default();
        assert_eq!(seen.last(1.0), "all closed");
        seen.samples.push(open(2.0));
        assert_eq!(seen.last(2.0), "points open");
        seen.unknown_s.push(3.0);
        assert_eq!(seen.last(3.0), "not known");
        assert_eq!(seen.last(4.0), "all closed");
    }
}
