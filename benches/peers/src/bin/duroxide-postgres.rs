//! duroxide on PostgreSQL, with the provider of its own makers. The orchestration is in
//! `orchestration.rs`.

use std::sync::Arc;

use clap::Parser;
use duroxide_pg::PostgresProvider;
use saga_peers::orchestration::{self, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // The size of the pool is that of `DUROXIDE_PG_POOL_MAX`, or 10.
    let store = PostgresProvider::new(&options.flags.store).await?;
    orchestration::run(&options, Arc::new(store)).await
}
