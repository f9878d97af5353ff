//! The service `orders`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use saga_examples::orders;
use saga_examples::service::{self, ServiceFlags};
use saga_worker::Client;

/// Takes orders and starts a saga for each.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    service: ServiceFlags,

    /// SQLite file of the sagas, shared with the workers; created if missing
    #[arg(long, value_name = "PATH")]
    saga_database: PathBuf,
}

fn main() -> ExitCode {
    service::run(serve(Flags::parse()))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = service::stop_signal(flags.service.stop)?;
    let store = saga_store::SqliteStore::open(&flags.saga_database).await?;
    let sagas = Client::new(std::sync::Arc::new(store), Vec::new())?;
    let pool = service::open_database(&flags.service.database).await?;
    let router = orders::router(pool, sagas).await?;
    let listener = service::listen(flags.service.listen).await?;
    Ok(service::serve(listener, router, stop).await?)
}
