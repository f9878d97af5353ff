//! The service `orders`.

use std::process::ExitCode;

use clap::Parser;
use saga_examples::database::{self, Address, Database};
use saga_examples::orders::{self, Orders};
use saga_examples::participant::Participant as _;
use saga_examples::service::{self, ServiceFlags};
use saga_worker::Client;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Confirms orders and, with a saga database, takes them and starts a saga for each.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    service: ServiceFlags,

    /// Database of the sagas, shared with the workers: a SQLite file, created if missing, or the
    /// URL of a PostgreSQL database. Without it orders are taken elsewhere, and only confirmed here
    #[arg(long, value_name = "PATH|postgres://..")]
    saga_database: Option<Address>,
}

fn main() -> ExitCode {
    service::run(serve(Flags::parse()))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = service::stop_signal(flags.service.stop)?;
    let sagas = match &flags.saga_database {
        Some(address) => Some(Client::new(database::open_sagas(address).await?, Vec::new())?),
        None => None,
    };
    let database = Database::open(&flags.service.database, Orders::TITLE.service).await?;
    let router = orders::router(database, sagas).await?;
    let listener = service::listen(flags.service.listen).await?;
    Ok(service::serve(listener, router, stop).await?)
}
