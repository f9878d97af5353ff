//! What happens beside the load: participants turn bad and well again, the daemon is frozen, the
//! breakers are looked at, and the terminal shows how it goes.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::sleep_until;

use super::drive::Clock;
use super::order::REJECTING;
use super::recorder::Recorder;
use super::schedule::{Schedule, duration};
use super::target::{BreakerSample, Target};
use super::trouble::Troubles;
use crate::process::signal;

/// How often breakers are looked at and the terminal is written.
const LOOK: Duration = Duration::from_secs(1);

/// When the daemon stands still, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
}

impl Freeze {
    /// From when to when, in seconds.
    pub(crate) fn span(self) -> (f64, f64) {
        (self.at.as_secs_f64(), (self.at + self.lasts).as_secs_f64())
    }
}

impl FromStr for Freeze {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected = || format!("`{text}` is no freeze; expected AT:FOR, such as 10s:2s");
        let (at, lasts) = text.split_once(':').with_context(expected)?;
        let (at, lasts) = (duration(at), duration(lasts));
        Ok(Self { at: at.with_context(expected)?, lasts: lasts.with_context(expected)? })
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIGSTOP at {:?} for {:?}", self.at, self.lasts)
    }
}

/// One thing to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Switch,
    Stop,
    Continue,
    Look,
}

/// Does what has to be done beside the load.
#[derive(Debug)]
pub(crate) struct Sampler<'a> {
    target: &'a Target,
    troubles: &'a Troubles,
    recorder: &'a Arc<Recorder>,
    clock: Clock,
    freeze: Option<Freeze>,
    frozen: bool,
    breakers: Vec<BreakerSample>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(
        target: &'a Target,
        troubles: &'a Troubles,
        recorder: &'a Arc<Recorder>,
        clock: Clock,
        freeze: Option<Freeze>,
    ) -> Self {
        Self { target, troubles, recorder, clock, freeze, frozen: false, breakers: Vec::new() }
    }

    /// Goes on until it is dropped; comes back with an error only.
    pub(crate) async fn run(&mut self, schedule: &Schedule) -> anyhow::Result<()> {
        let mut turns: Vec<(Duration, Turn)> = Vec::new();
        let at = Duration::from_secs_f64;
        turns.extend(self.troubles.changes().into_iter().map(|s| (at(s), Turn::Switch)));
        if let Some(Freeze { at, lasts }) = self.freeze {
            turns.extend([(at, Turn::Stop), (at + lasts, Turn::Continue)]);
        }
        turns.sort_by_key(|(at, _)| *at);
        let mut turns = turns.into_iter().peekable();
        let mut next_look = LOOK;
        loop {
            let (at, turn) = match turns.next_if(|(at, _)| *at <= next_look) {
                Some(planned) => planned,
                None => (next_look, Turn::Look),
            };
            sleep_until(self.clock.instant(at).into()).await;
            if turn == Turn::Look {
                next_look = at.max(self.clock.now().saturating_sub(LOOK)) + LOOK;
            }
            self.take(turn, at, schedule).await?;
        }
    }

    async fn take(&mut self, turn: Turn, at: Duration, schedule: &Schedule) -> anyhow::Result<()> {
        match turn {
            Turn::Switch => {
                let at = at.as_secs_f64();
                self.target.set(|name| self.troubles.switches(name, REJECTING, at)).await
            }
            Turn::Stop => {
                self.frozen = true;
                signal(self.target.pid().context("there is no daemon to freeze")?, "STOP")
            }
            Turn::Continue => self.thaw(),
            Turn::Look => {
                // A daemon that stands still has nothing to tell.
                if !self.frozen {
                    let seen = self.target.breakers(at.as_secs_f64()).await;
                    self.breakers.extend(seen);
                }
                self.show(at, schedule);
                Ok(())
            }
        }
    }

    fn thaw(&mut self) -> anyhow::Result<()> {
        self.frozen = false;
        signal(self.target.pid().context("there is no daemon to let go on")?, "CONT")
    }

    fn show(&self, at: Duration, schedule: &Schedule) {
        let second = at.as_secs();
        let mut stderr = std::io::stderr();
        // A log gets a line now and then.
        if !stderr.is_terminal() && !second.is_multiple_of(10) {
            return;
        }
        let arrived = schedule.arrived_by(at);
        let (ended, p99) = self.recorder.glance(at.as_secs() as usize);
        let mut open: Vec<_> = self
            .breakers
            .iter()
            .filter(|breaker| breaker.at_s >= at.as_secs_f64())
            .map(|breaker| format!("{} {}", breaker.participant, breaker.state))
            .collect();
        open.dedup();
        let open = if open.is_empty() { "all closed".to_owned() } else { open.join(", ") };
        let line = format!(
            "{second:>4} s  arrived {arrived:>7}  ended {ended:>7}  under way {:>6}  p99 {p99:>8.1} ms  breakers: {open}",
            arrived.saturating_sub(ended)
        );
        // A terminal that is gone must not end the run.
        let _ = match stderr.is_terminal() {
            true => write!(stderr, "\r{line:<110}"),
            false => writeln!(stderr, "{line}"),
        };
        let _ = stderr.flush();
    }

    /// The breakers that were not closed, and the last of the terminal's line.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Vec<BreakerSample>> {
        if self.frozen {
            self.thaw()?;
        }
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        // Participants answer well again, so that what is left comes to its end.
        let calm = Troubles { windows: Vec::new(), ..self.troubles.clone() };
        self.target.set(|name| calm.switches(name, REJECTING, 0.0)).await?;
        Ok(self.breakers)
    }
}
