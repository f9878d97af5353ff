//! duroxide on SQLite, with the provider that it brings. The orchestration is in `orchestration.rs`.

use std::sync::Arc;

use clap::Parser;
use duroxide::providers::sqlite::{SqliteOptions, SqliteProvider};
use saga_peers::orchestration::{self, Options};

/// Connections of its pool, all of which have to be as durable as ours.
const CONNECTIONS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let url = format!("sqlite:{}?mode=rwc", options.flags.store);
    let store = SqliteProvider::new(&url, None::<SqliteOptions>).await?;
    sync_every_commit(&store).await?;
    orchestration::run(&options, Arc::new(store)).await
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
