//! What the programs of the peers have in common: the workload and how it is measured.
//!
//! A closed loop: so many clients, each of which starts the next saga when the last one has its
//! result. The input has about 200 bytes; three steps return at once. With `--fail-last` the third
//! one says no and the first two are compensated, by whatever the peer has for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::JoinSet;

#[cfg(any(feature = "duroxide", feature = "duroxide-postgres"))]
pub mod orchestration;

/// As in our own bench, where that of glibc costs a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The flags of every program.
#[derive(Debug, Clone, Parser)]
pub struct Flags {
    /// Where it keeps what is durable: a URL of PostgreSQL, a file, or the ingress of a server.
    #[arg(long)]
    pub store: String,
    /// Clients at a time.
    #[arg(long, default_value_t = 64)]
    pub concurrency: usize,
    /// Length of the measurement.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// What runs before it, and does not count.
    #[arg(long, default_value_t = 2)]
    pub warm_up: u64,
    /// The third step is rejected, two compensations run.
    #[arg(long)]
    pub fail_last: bool,
}

/// About 200 bytes, different for every saga.
pub fn input(n: u64) -> String {
    format!("order-{n:010}-{}", "x".repeat(180))
}

/// Runs `saga` in a closed loop and prints a line of JSON when the measurement begins, and one with
/// its figures when it ends.
pub async fn measure<F, Fut>(flags: &Flags, saga: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let begun = Instant::now();
    let begin = begun + Duration::from_secs(flags.warm_up);
    let end = begin + Duration::from_secs(flags.seconds);
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..flags.concurrency {
        let (saga, next) = (saga.clone(), next.clone());
        clients.spawn(async move {
            let mut took = Vec::new();
            loop {
                let started = Instant::now();
                if started >= end {
                    return anyhow::Ok(took);
                }
                saga(next.fetch_add(1, Ordering::Relaxed)).await?;
                let ended = Instant::now();
                if ended >= begin && ended < end {
                    took.push(ended - started);
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    println!("{}", serde_json::json!({ "event": "begin" }));
    tokio::time::sleep_until(end.into()).await;
    println!("{}", serde_json::json!({ "event": "end" }));
    let mut took = Vec::new();
    while let Some(client) = clients.join_next().await {
        took.extend(client??);
    }
    took.sort_unstable();
    anyhow::ensure!(!took.is_empty(), "no saga ended in time");
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    let figures = serde_json::json!({
        "event": "figures",
        "sagas": took.len(),
        "sagas_per_s": took.len() as f64 / flags.seconds as f64,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    });
    println!("{figures}");
    Ok(())
}
