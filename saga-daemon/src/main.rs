//! `saga-worker`: the daemon and its command line by themselves.

use std::process::ExitCode;

fn main() -> ExitCode {
    saga_daemon::cli::run(Vec::new())
}
