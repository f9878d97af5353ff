//! The service `payments`.

use std::process::ExitCode;

use clap::Parser;
use saga_examples::participant::ParticipantFlags;
use saga_examples::payments::Payments;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Captures the payments of orders.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    participant: ParticipantFlags,
}

fn main() -> ExitCode {
    Flags::parse().participant.run::<Payments>()
}
