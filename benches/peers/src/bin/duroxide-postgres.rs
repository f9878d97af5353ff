//! duroxide on PostgreSQL, with the provider of its own makers. The orchestration is in
//! `orchestration.rs`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use duroxide::runtime::RuntimeOptions;
use duroxide_pg::PostgresProvider;
use saga_peers::{Flags, orchestration};

/// Of orchestrations, and as many of activities: with 2 and 4 of each it was slower here.
const DISPATCHERS: usize = 8;
const POLL: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    // The size of the pool is that of `DUROXIDE_PG_POOL_MAX`, or 10.
    let store = PostgresProvider::new(&flags.store).await?;
    let options = RuntimeOptions {
        orchestration_concurrency: DISPATCHERS,
        worker_concurrency: DISPATCHERS,
        dispatcher_min_poll_interval: POLL,
        ..RuntimeOptions::default()
    };
    orchestration::run(&flags, Arc::new(store), options).await
}
