//! underway on PostgreSQL, as its README has it: a job of three steps, each of which enqueues the next.
//!
//! Differs from ours: a step is at least once, a job has no result to wait for (the last step tells
//! its client here, in memory) and nothing compensates, so there is no `--fail-last`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use clap::Parser;
use saga_peers::{Flags, input, measure};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::oneshot;
use underway::{Job, To};

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    n: u64,
    text: String,
}

/// Those who wait for the end of their job.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Workers at a time: more were slower on two cores.
const WORKERS: usize = 8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    anyhow::ensure!(!flags.fail_last, "underway has no compensations");
    let pool = PgPoolOptions::new().max_connections(24).connect(&flags.store).await?;
    underway::run_migrations(&pool).await?;
    let waiting = Waiting::default();
    let told = waiting.clone();
    let job = Job::builder()
        .step(|_, order: Order| async move { To::next(order) })
        .step(|_, order: Order| async move { To::next(order) })
        .step(move |_, order: Order| {
            let told = told.clone();
            async move {
                if let Some(waits) = told.lock().expect("nobody panics with it").remove(&order.n) {
                    let _ = waits.send(());
                }
                To::done()
            }
        })
        .name("saga")
        .pool(pool)
        .build()
        .await?;
    for _ in 0..WORKERS {
        let worker = job.worker();
        tokio::spawn(async move { worker.run().await });
    }
    let job = Arc::new(job);
    measure(&flags, move |n| {
        let (job, waiting) = (job.clone(), waiting.clone());
        async move {
            let (tell, done) = oneshot::channel();
            waiting.lock().expect("nobody panics with it").insert(n, tell);
            job.enqueue(&Order { n, text: input(n) }).await?;
            Ok(done.await?)
        }
    })
    .await?;
    // Its workers have no end of their own here.
    std::process::exit(0)
}
