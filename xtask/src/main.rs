//! The project's own commands, run as `cargo xtask <command>`.
//!
//! - `bench` compares the engine with its peers, and looks at its speed for a few seconds.
//! - `demo` runs orders as sagas through real services and audits their books.
//! - `soak` kills, freezes and cuts off workers and databases under load, and checks every invariant.
//! - `test` makes every check that CI makes.
//! - `tidy` checks the invariants of the architecture that a program can check.

mod bench;
mod check;
mod demo;
mod interrupt;
mod soak;
mod text;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the Saga project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure: the engine and its peers with one workload, or the engine against its floor.
    Bench(bench::Options),
    /// Run orders as sagas through real services, kill the worker on the way, audit the books.
    Demo(demo::Options),
    /// Kill, freeze and cut off processes under load, and check every invariant afterwards.
    Soak(soak::Options),
    /// Make every check that CI makes, and count them.
    #[command(visible_alias = "ci")]
    Test(check::Options),
    /// Check the invariants of ARCHITECTURE.md that a program can check.
    #[command(after_help = "Exit codes: 0 all hold, 1 something is to be mended, 2 usage.")]
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Bench(options) => bench::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Soak(options) => soak::run(&options),
        Command::Test(options) => check::run(&options),
        Command::Tidy => tidy::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
