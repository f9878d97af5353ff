//! `cargo xtask test`: every check that CI makes, each announced and timed, none skipped silently.
//!
//! `bench` looks at the speed, `child` runs commands, `command` are the checks that are one command,
//! `counted` counts tests, `demo` runs the smoke tests, `soak` the short soaks, `plants` those with bugs,
//! `summary` tells.

mod bench;
mod child;
mod command;
mod counted;
mod demo;
mod plants;
mod server;
mod soak;
mod summary;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use child::Runner;
use summary::{Line, Summary};

use crate::interrupt::Interrupt;

/// Which checks `cargo xtask test` makes.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 every check passed, 1 one failed, 2 usage, 130 Ctrl-C.\n\
                        The last line counts tests and checks: `N passed, N failed`.")]
pub(crate) struct Options {
    /// Make only this check; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Name>,

    /// Leave this check out; may be given several times.
    #[arg(long, value_enum, value_name = "NAME")]
    skip: Vec<Name>,
}

/// The checks, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// rustfmt would change nothing.
    Fmt,
    /// clippy has no warning, with the default features.
    Clippy,
    /// clippy has no warning for each library without its default features.
    Features,
    /// A PostgreSQL server for the tests is there, or could be installed.
    Server,
    /// Every test and doctest passes.
    Test,
    /// The documentation builds without a warning.
    Doc,
    /// The invariants of ARCHITECTURE.md hold.
    Tidy,
    /// The demo ends well with a misbehaving world.
    Demo,
    /// The demo ends well with four workers on PostgreSQL.
    DemoPostgres,
    /// A short soak on SQLite violates no invariant.
    SoakSqlite,
    /// A short soak on PostgreSQL violates no invariant.
    SoakPostgres,
    /// The soak finds each bug that is planted on SQLite.
    PlantsSqlite,
    /// The soak finds each bug that is planted on PostgreSQL.
    PlantsPostgres,
    /// The engine and the floor of each database do the work they are timed for.
    BenchSmoke,
    /// Licences and sources of the dependencies are allowed.
    Deny,
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// What is wrong, in words.
    Failed(String),
    /// The tests that the runner counted; a build that failed counts as one failure.
    Counted {
        passed: usize,
        failed: usize,
        built: bool,
    },
    /// Why it was not made.
    Skipped(String),
}

/// Makes the checks and counts them; one that fails does not keep the others from being made.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = runtime.context("could not start the asynchronous runtime")?.block_on(all(options));
    match made.as_ref().err().and_then(|error| error.downcast_ref::<Interrupt>()) {
        None => made,
        Some(interrupt) => {
            eprintln!("{interrupt}");
            Ok(ExitCode::from(interrupt.exit_code))
        }
    }
}

async fn all(options: &Options) -> anyhow::Result<ExitCode> {
    let mut runner = Runner::new()?;
    let mut summary = Summary::default();
    let mut builds = true;
    for &name in Name::value_variants() {
        let started = Instant::now();
        let outcome = match options.unwanted(name) {
            Some(why) => Outcome::Skipped(why.to_owned()),
            None if name.runs_programs() && !builds => {
                Outcome::Skipped("the workspace does not build".to_owned())
            }
            None => {
                println!("\n== {}: {}", name.word(), name.meaning());
                made(make(name, &mut runner).await)?
            }
        };
        builds &= !matches!(outcome, Outcome::Counted { built: false, .. });
        let line = Line { name: name.word(), outcome, took: started.elapsed() };
        line.announce();
        summary.lines.push(line);
    }
    summary.show();
    Ok(if summary.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn make(name: Name, runner: &mut Runner) -> anyhow::Result<Outcome> {
    match name {
        Name::Fmt => command::fmt(runner).await,
        Name::Clippy => command::clippy(runner, &["--workspace", "--all-targets"]).await,
        Name::Features => command::features(runner).await,
        Name::Server => server::find_or_install(runner).await,
        Name::Test => counted::tests(runner).await,
        Name::Doc => command::doc(runner).await,
        Name::Tidy => command::tidy(),
        Name::Demo => demo::on_sqlite(runner).await,
        Name::DemoPostgres => demo::on_postgres(runner).await,
        Name::SoakSqlite => soak::short(runner, "sqlite").await,
        Name::SoakPostgres => soak::short(runner, "postgres").await,
        Name::PlantsSqlite => plants::found(runner, "sqlite").await,
        Name::PlantsPostgres => plants::found(runner, "postgres").await,
        Name::BenchSmoke => bench::smoke(runner).await,
        Name::Deny => command::deny(runner).await,
    }
}

/// A check that could not be made has failed, but a signal ends them all.
fn made(outcome: anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
    match outcome {
        Err(error) if !error.is::<Interrupt>() => Ok(Outcome::Failed(format!("{error:#}"))),
        outcome => outcome,
    }
}

impl Options {
    /// Why a check is not wanted, if it is not.
    fn unwanted(&self, name: Name) -> Option<&'static str> {
        if self.skip.contains(&name) {
            Some("left out by --skip")
        } else if !self.only.is_empty() && !self.only.contains(&name) {
            Some("left out by --only")
        } else {
            None
        }
    }
}

impl Name {
    /// Whether the check needs a workspace that builds.
    fn runs_programs(self) -> bool {
        match self {
            Self::Demo | Self::DemoPostgres => true,
            Self::SoakSqlite | Self::SoakPostgres => true,
            Self::PlantsSqlite | Self::PlantsPostgres | Self::BenchSmoke => true,
            Self::Fmt | Self::Clippy | Self::Features | Self::Server => false,
            Self::Test | Self::Doc | Self::Tidy | Self::Deny => false,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Features => "features",
            Self::Server => "server",
            Self::Test => "test",
            Self::Doc => "doc",
            Self::Tidy => "tidy",
            Self::Demo => "demo",
            Self::DemoPostgres => "demo-postgres",
            Self::SoakSqlite => "soak-sqlite",
            Self::SoakPostgres => "soak-postgres",
            Self::PlantsSqlite => "plants-sqlite",
            Self::PlantsPostgres => "plants-postgres",
            Self::BenchSmoke => "bench-smoke",
            Self::Deny => "deny",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Fmt => "rustfmt would change nothing",
            Self::Clippy => "clippy has no warning",
            Self::Features => "clippy has no warning without default features",
            Self::Server => "a PostgreSQL server for the tests is there",
            Self::Test => "every test and doctest passes",
            Self::Doc => "the documentation builds without a warning",
            Self::Tidy => "the invariants of ARCHITECTURE.md hold",
            Self::Demo => "sixty orders, two kills, wild faults: the books balance",
            Self::DemoPostgres => "the same with four workers on PostgreSQL",
            Self::SoakSqlite => "two hundred kills on SQLite: no invariant is violated",
            Self::SoakPostgres => "two hundred kills on PostgreSQL: no invariant is violated",
            Self::PlantsSqlite => "each bug planted on SQLite is found",
            Self::PlantsPostgres => "each bug planted on PostgreSQL is found",
            Self::BenchSmoke => "the engine and the floor do the work they are timed for",
            Self::Deny => "licences and sources of the dependencies are allowed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_and_skip_choose_the_checks() {
        let options = Options { only: vec![Name::Fmt, Name::Tidy], skip: vec![Name::Tidy] };
        assert_eq!(options.unwanted(Name::Fmt), None);
        assert_eq!(options.unwanted(Name::Tidy), Some("left out by --skip"));
        assert_eq!(options.unwanted(Name::Doc), Some("left out by --only"));
    }
}
