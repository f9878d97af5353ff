//! What turns during a run, each at its time: participants go bad and get well again, the daemon is
//! frozen and goes on.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;

use super::drive::Clock;
use super::order::REJECTING;
use super::schedule::duration;
use super::target::Target;
use super::trouble::Troubles;
use crate::process::signal;

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

/// One thing that turned, in seconds from the beginning of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turned {
    pub(crate) due_s: f64,
    /// When all participants had been told, or the signal sent.
    pub(crate) done_s: f64,
}

/// One thing to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Switch,
    Stop,
    Continue,
}

/// Does what is planned. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Turns<'a> {
    target: &'a Target,
    troubles: &'a Troubles,
    clock: Clock,
    freeze: Option<Freeze>,
    frozen: Arc<AtomicBool>,
    // A std mutex: held for a push or a copy.
    turned: Arc<Mutex<Vec<Turned>>>,
}

impl<'a> Turns<'a> {
    pub(crate) fn new(
        target: &'a Target,
        troubles: &'a Troubles,
        clock: Clock,
        freeze: Option<Freeze>,
    ) -> Self {
        let (frozen, turned) = Default::default();
        Self { target, troubles, clock, freeze, frozen, turned }
    }

    /// What is planned, in the order of time.
    fn planned(&self) -> Vec<(Duration, Turn)> {
        let changes = self.troubles.changes().into_iter();
        let mut turns: Vec<_> =
            changes.map(|s| (Duration::from_secs_f64(s), Turn::Switch)).collect();
        if let Some(Freeze { at, lasts }) = self.freeze {
            turns.extend([(at, Turn::Stop), (at + lasts, Turn::Continue)]);
        }
        turns.sort_by_key(|(at, _)| *at);
        turns
    }

    /// Goes on until it is dropped; comes back with an error only.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        for (at, turn) in self.planned() {
            sleep_until(self.clock.instant(at).into()).await;
            match turn {
                Turn::Switch => self.switch(at).await?,
                Turn::Stop => self.signal("STOP", true)?,
                Turn::Continue => self.signal("CONT", false)?,
            }
            let (due_s, done_s) = (at.as_secs_f64(), self.clock.now().as_secs_f64());
            let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
            turned.push(Turned { due_s, done_s });
        }
        std::future::pending().await
    }

    async fn switch(&self, at: Duration) -> anyhow::Result<()> {
        let at = at.as_secs_f64();
        let switched = self.target.set(|name| self.troubles.switches(name, REJECTING, at)).await;
        switched.with_context(|| format!("participants could not be switched at {at} s"))
    }

    fn signal(&self, name: &str, frozen: bool) -> anyhow::Result<()> {
        self.frozen.store(frozen, Ordering::Release);
        signal(self.target.pid().context("there is no daemon to freeze")?, name)
    }

    /// Whether the daemon stands still.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Lets the daemon go on and the participants answer well again, so that what is left comes to
    /// its end. Tells what has turned, and when.
    pub(crate) async fn finish(self) -> anyhow::Result<Vec<Turned>> {
        if self.is_frozen() {
            self.signal("CONT", false)?;
        }
        let calm = Troubles { windows: Vec::new(), ..self.troubles.clone() };
        self.target.set(|name| calm.switches(name, REJECTING, 0.0)).await?;
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(turned.clone())
    }
}
