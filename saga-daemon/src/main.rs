//! `saga-worker`: the daemon and its command line by themselves.

use std::process::ExitCode;

/// Requests and answers are allocated on one thread and freed on another, and the allocator of glibc
/// spends a fifth of the daemon's time under load on that.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    saga_daemon::cli::run(Vec::new())
}
