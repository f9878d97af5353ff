//! Watches the run: shows its progress, kills daemons, notices what went wrong, and knows the end.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::watch;

use super::api::Counts;
use super::daemons::Daemons;
use super::fleet::Fleet;
use super::killer::Killer;
use super::screen::Screen;
use super::{disk, folder::Folder};
use crate::text;

/// How often the counts are asked for; shorter while a kill is due, so that sagas are caught alive.
const LOOK_EVERY: Duration = Duration::from_millis(150);
const LOOK_EVERY_FOR_KILL: Duration = Duration::from_millis(25);
/// How often the free space is tried.
const TRY_DISK_EVERY: Duration = Duration::from_secs(2);
/// How long after a change the waiting itself is worth a word.
const QUIET: Duration = Duration::from_secs(5);

/// Watches one run to its end.
#[derive(Debug)]
pub(crate) struct Monitor<'a> {
    pub daemons: Daemons,
    pub fleet: &'a mut Fleet,
    pub folder: &'a Folder,
    pub screen: &'a mut Screen,
    pub killer: Killer,
    pub orders: usize,
    pub patience: Duration,
}

/// How the watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watched {
    pub counts: Counts,
    pub kills: usize,
    /// When no saga moved any more: the last verdict, if every saga has one.
    pub ended_at: Instant,
    /// Whether sagas that should move were given up.
    pub gave_up: bool,
}

impl Monitor<'_> {
    /// Watches until every order is posted and no saga moves any more, or patience ends.
    ///
    /// # Errors
    /// When a process ends that should run, the disk is full, or a daemon cannot be restarted.
    pub(crate) async fn watch(
        mut self,
        through: watch::Receiver<usize>,
    ) -> anyhow::Result<Watched> {
        let mut last = Counts::default();
        let mut changed_at = Instant::now();
        let mut disk_tried_at = Instant::now();
        loop {
            self.fleet.check_running()?;
            let posted = *through.borrow() == self.orders;
            let counts = match self.daemons.counts().await {
                Ok(counts) => counts,
                Err(error) if changed_at.elapsed() > self.patience => return Err(error),
                Err(error) => {
                    self.screen.live(format!("no news from the daemons: {error:#}"));
                    self.pause().await;
                    continue;
                }
            };
            if counts != last {
                (last, changed_at) = (counts, Instant::now());
            }
            let (kills, ended_at) = (self.killer.kills(), changed_at);
            if posted && counts.moving() == 0 {
                return Ok(Watched { counts, kills, ended_at, gave_up: false });
            }
            if changed_at.elapsed() > self.patience {
                return Ok(Watched { counts, kills, ended_at, gave_up: true });
            }
            if disk_tried_at.elapsed() >= TRY_DISK_EVERY {
                disk_tried_at = Instant::now();
                self.check_disk()?;
            }
            self.screen.live(progress(&counts, self.orders, changed_at.elapsed()));
            if self.killer.is_due(&counts) {
                self.kill(&counts).await?;
                changed_at = Instant::now();
            }
            self.pause().await;
        }
    }

    async fn kill(&mut self, counts: &Counts) -> anyhow::Result<()> {
        let killed_at = Instant::now();
        let pid = self.fleet.replace_a_daemon().await?;
        self.killer.struck();
        self.screen.say(format!(
            "killed a daemon (SIGKILL, process {pid}) with {} alive; another is ready after {}",
            text::count(counts.moving(), "saga"),
            text::span(killed_at.elapsed()),
        ));
        Ok(())
    }

    fn check_disk(&self) -> anyhow::Result<()> {
        if disk::is_full(self.folder.path()) {
            bail!("a write to the disk failed");
        }
        Ok(())
    }

    async fn pause(&self) {
        let pause = if self.killer.is_done() { LOOK_EVERY } else { LOOK_EVERY_FOR_KILL };
        tokio::time::sleep(pause).await;
    }
}

/// One line about the state of the run.
fn progress(counts: &Counts, orders: usize, unchanged: Duration) -> String {
    let mut parts = vec![format!("{}/{orders} orders", counts.all())];
    let shown = [
        ("running", counts.running),
        ("compensating", counts.compensating),
        ("stuck", counts.stuck),
        ("completed", counts.completed),
        ("compensated", counts.compensated),
        ("stopped", counts.stopped),
    ];
    let shown = shown.into_iter().filter(|(_, count)| *count > 0);
    parts.extend(shown.map(|(status, count)| format!("{count} {status}")));
    if unchanged > QUIET {
        parts.push(format!("no change for {}", text::span(unchanged)));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_names_only_what_there_is() {
        let counts = Counts { running: 3, completed: 5, ..Counts::default() };
        let line = progress(&counts, 10, Duration::ZERO);
        assert_eq!(line, "8/10 orders · 3 running · 5 completed");
    }

    #[test]
    fn a_long_wait_is_admitted() {
        let counts = Counts { compensating: 1, ..Counts::default() };
        let line = progress(&counts, 1, Duration::from_secs(9));
        assert_eq!(line, "1/1 orders · 1 compensating · no change for 9.0 s");
    }
}
