//! The service `inventory`.

use std::process::ExitCode;

use clap::Parser;
use saga_examples::inventory::Inventory;
use saga_examples::participant::ParticipantFlags;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the stock: reserves it for orders and releases it again.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    participant: ParticipantFlags,
}

fn main() -> ExitCode {
    Flags::parse().participant.run::<Inventory>()
}
