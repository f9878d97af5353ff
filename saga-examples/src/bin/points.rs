//! The service `points`.

use std::process::ExitCode;

use clap::Parser;
use saga_examples::participant::ParticipantFlags;
use saga_examples::points::Points;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the loyalty points: freezes them for orders and unfreezes them again.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    participant: ParticipantFlags,
}

fn main() -> ExitCode {
    Flags::parse().participant.run::<Points>()
}
