//! The service `orders`.

use std::process::ExitCode;

use clap::Parser;
use saga_core::Share;
use saga_examples::database::{Address, Database, Sagas};
use saga_examples::orders::{self, Orders, Shop};
use saga_examples::participant::Participant as _;
use saga_examples::place_order;
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

    /// Start this share of the orders, in percent, on the newest version of their saga, and the rest
    /// on the one before it. Without it all start on the newest version that a worker knows
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    rollout: Option<u32>,
}

fn main() -> ExitCode {
    service::run(serve(Flags::parse()))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = service::stop_signal(flags.service.stop)?;
    let shop = match &flags.saga_database {
        Some(address) => Some(open(address, flags.rollout).await?),
        None => None,
    };
    let database = Database::open(&flags.service.database, Orders::TITLE.service).await?;
    let router = orders::router(database, shop).await?;
    let listener = service::listen(flags.service.listen).await?;
    Ok(service::serve(listener, router, stop).await?)
}

/// The sagas of the orders, with rows of the orders beside them.
async fn open(address: &Address, rollout: Option<u32>) -> anyhow::Result<Shop> {
    let sagas = Sagas::open(address).await?;
    let client = Client::new(sagas.store(address), Vec::new())?;
    let shop = Shop::new(client).beside(sagas.beside(address).await?);
    Ok(match rollout {
        Some(percent) => shop.rollout(place_order::NEWEST, Share::percent(percent)),
        None => shop,
    })
}
