//! The service `coupons`.

use std::process::ExitCode;

use clap::Parser;
use saga_examples::coupons::Coupons;
use saga_examples::participant::ParticipantFlags;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the coupons: redeems them for orders and restores them again.
#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    participant: ParticipantFlags,
}

fn main() -> ExitCode {
    Flags::parse().participant.run::<Coupons>()
}
