//! duroxide on SQLite, with the provider that it brings. The orchestration is in `orchestration.rs`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use duroxide::providers::sqlite::{SqliteOptions, SqliteProvider};
use duroxide::runtime::RuntimeOptions;
use saga_peers::{Flags, orchestration};

/// Connections of its pool, all of which have to be as durable as ours.
const CONNECTIONS: usize = 5;

/// Of orchestrations, and as many of activities: with 2 and 4 of each it was slower here.
const DISPATCHERS: usize = 8;
const POLL: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let url = format!("sqlite:{}?mode=rwc", flags.store);
    let store = SqliteProvider::new(&url, None::<SqliteOptions>).await?;
    sync_every_commit(&store).await?;
    let options = RuntimeOptions {
        orchestration_concurrency: DISPATCHERS,
        worker_concurrency: DISPATCHERS,
        dispatcher_min_poll_interval: POLL,
        ..RuntimeOptions::default()
    };
    orchestration::run(&flags, Arc::new(store), options).await
}

/// It asks for `synchronous = WAL`, which SQLite does not know and takes as `NORMAL`: a commit is then
/// not on the disk before the next checkpoint.
async fn sync_every_commit(store: &SqliteProvider) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = store.get_pool().acquire().await?;
        sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
        held.push(connection);
    }
    Ok(())
}
