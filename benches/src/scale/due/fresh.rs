//! Sagas that wait for nothing, started beside those that do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use saga_core::Verdict;
use saga_worker::Client;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::{NAME, Ticket};

/// Fresh sagas started per second, at an even pace.
pub(super) const PER_S: f64 = 50.0;
/// How long the pace of the machine is looked at, and with how many clients.
const LOOK: Duration = Duration::from_secs(1);
const LOOKING: usize = 16;

/// Sagas that wait for nothing.
pub(super) struct Fresh {
    pub(super) clients: Vec<Client>,
    numbers: AtomicU64,
}

impl Fresh {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        Self { clients, numbers: AtomicU64::new(0) }
    }

    /// How many have been started so far.
    pub(super) fn started(&self) -> u64 {
        self.numbers.load(Ordering::SeqCst)
    }

    /// Runs one to its verdict.
    fn run(&self) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let client = &self.clients[number as usize % self.clients.len()];
        let start = client.start(NAME, &Ticket { waits: false, number });
        let start = start.key(format!("fresh-{number}"));
        async move {
            let saga = start.await?;
            let verdict = saga.verdict().await?;
            ensure!(verdict == Verdict::Completed, "saga {} ended {verdict}", saga.id);
            Ok(())
        }
    }

    /// How many a few clients get done in a second, one after the other.
    pub(super) async fn pace(&self) -> anyhow::Result<f64> {
        let (begun, mut under_way) = (Instant::now(), JoinSet::new());
        let mut done = 0.0;
        while begun.elapsed() < LOOK {
            while under_way.len() < LOOKING {
                under_way.spawn(self.run());
            }
            under_way.join_next().await.context("one is under way")???;
            done += 1.0;
        }
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        Ok(done / begun.elapsed().as_secs_f64())
    }

    /// Starts them at an even pace, however long each takes, and gives their times to the verdict in
    /// ascending order: of those that were to start before a moment, and of the others.
    pub(super) async fn start_until(
        &self,
        moment: Instant,
        over: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<(Vec<Duration>, Vec<Duration>)> {
        let mut pace = interval(Duration::from_secs_f64(1.0 / PER_S));
        let mut under_way = JoinSet::new();
        while !over()? {
            let meant = pace.tick().await.into_std();
            let run = self.run();
            under_way.spawn(async move { run.await.map(|()| (meant, meant.elapsed())) });
        }
        let (mut before, mut during) = (Vec::new(), Vec::new());
        while let Some(ended) = under_way.join_next().await {
            let (meant, took) = ended??;
            if meant < moment { &mut before } else { &mut during }.push(took);
        }
        before.sort_unstable();
        during.sort_unstable();
        Ok((before, during))
    }
}
