//! underway on PostgreSQL, as its README has it: a job of steps, each of which enqueues the next.
//!
//! Differs from ours: a step is at least once, and nothing compensates but steps that follow because
//! the one before says so. A job has no result to wait for: the last step tells its client in memory,
//! just before its own commit, which makes it look a little faster than it is.

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
    declined: bool,
    text: String,
}

/// Those who wait for the end of their job, by its number.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

impl Waiting {
    fn wait(&self, n: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.0.lock().expect("nobody panics with it").insert(n, tell);
        told
    }

    fn tell(&self, n: u64) {
        if let Some(waits) = self.0.lock().expect("nobody panics with it").remove(&n) {
            let _ = waits.send(());
        }
    }
}

/// Workers, each with so many tasks at a time.
const WORKERS: usize = 8;
const TASKS: usize = 2;
const CONNECTIONS: u32 = 24;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&flags.store).await?;
    underway::run_migrations(&pool).await?;
    let waiting = Waiting::default();
    let (paid, released) = (waiting.clone(), waiting.clone());
    let job = Job::builder()
        // Reserves stock, redeems the coupon.
        .step(|_, order: Order| async move { To::next(order) })
        .step(|_, order: Order| async move { To::next(order) })
        // Captures the payment, which ends the job or sends it on to its compensations.
        .step(move |_, order: Order| {
            let paid = paid.clone();
            async move {
                if order.declined {
                    return To::next(order);
                }
                paid.tell(order.n);
                Ok(To::Done)
            }
        })
        // Restores the coupon, releases the stock.
        .step(|_, order: Order| async move { To::next(order) })
        .step(move |_, order: Order| {
            released.tell(order.n);
            async move { To::done() }
        })
        .name("saga")
        .pool(pool)
        .build()
        .await?;
    for _ in 0..WORKERS {
        let mut worker = job.worker();
        worker.set_concurrency_limit(TASKS);
        tokio::spawn(async move { worker.run().await });
    }
    let (job, declined) = (Arc::new(job), flags.fail_last);
    measure(&flags, move |n| {
        let (job, waiting) = (job.clone(), waiting.clone());
        async move {
            let done = waiting.wait(n);
            job.enqueue(&Order { n, declined, text: input(n) }).await?;
            Ok(done.await?)
        }
    })
    .await?;
    // Its workers have no end of their own here.
    std::process::exit(0)
}
