//! How far the soak is, for a person who watches.

use super::crew::Crew;
use crate::demo::screen::Screen;

/// The screen, and what it shows while the soak goes on.
#[derive(Debug)]
pub(super) struct Progress(pub Screen);

impl Progress {
    /// Rewrites the live line.
    pub(super) fn show(&mut self, crew: &Crew) {
        let done = |fault| crew.tally.done(fault);
        let violations: u64 = crew.tally.counted().violations.values().sum();
        self.0.live(format!(
            "{} workers killed, {} deaths at crash points, {} frozen, {} drained, {violations} violations",
            done("worker killed"),
            done("died at a crash point"),
            done("worker frozen past its lease"),
            done("worker drained"),
        ));
    }
}
