//! The PostgreSQL server that some tests need: found, or installed where that is allowed.

use std::process::{Command, Stdio};

use super::Outcome;
use super::child::Runner;

/// Test names with this in them need a server; `cargo test -- --skip` leaves them out.
pub(super) const TESTS: &str = "postgres::";

/// Looks for the server's programs and tries to install them with the system's package manager.
pub(super) async fn find_or_install(runner: &mut Runner) -> anyhow::Result<Outcome> {
    if throwaway_postgres::available().is_ok() {
        return Ok(Outcome::Passed);
    }
    for command in installation() {
        println!("-- {command:?}");
        runner.run(command, |_| {}).await?;
    }
    Ok(match throwaway_postgres::available() {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            Outcome::Skipped(format!("the tests of PostgreSQL are left out, because {error}"))
        }
    })
}

/// What installs a server here: nothing where there is no `apt-get`, or no right to use it.
fn installation() -> Vec<Command> {
    let may = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let root = may("id", &["-u"]).is_some_and(|user| user.trim() == "0");
    if !root || may("apt-get", &["--version"]).is_none() {
        return Vec::new();
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null());
        command
    };
    vec![apt(&["update"]), apt(&["install", "--no-install-recommends", "postgresql"])]
}
