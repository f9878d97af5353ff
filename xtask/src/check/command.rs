//! Checks that are one call of a tool, and the tidy check.

use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::Outcome;
use super::child::Runner;
use crate::tidy::{self, Tree};
use crate::{text, workspace};

/// Asks rustfmt whether it would change anything.
pub(super) async fn fmt(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let command = cargo(&["fmt", "--all", "--check"]);
    made(runner, command, "run `cargo fmt --all` (`rustup component add rustfmt` if missing)").await
}

/// Runs clippy over a part of the workspace, warnings denied.
pub(super) async fn clippy(runner: &mut Runner, part: &[&str]) -> anyhow::Result<Outcome> {
    let command = cargo(&[&["clippy"], part, &["--", "-D", "warnings"]].concat());
    let remedy = "mend what clippy says above (`rustup component add clippy` if it is missing)";
    made(runner, command, remedy).await
}

/// Runs clippy over each library that has features, without its default ones.
pub(super) async fn features(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let tree = Tree::load(&workspace::root())?;
    for library in tree.libraries_with_features() {
        println!("-- {library} without default features");
        let outcome = clippy(runner, &["--package", &library, "--no-default-features"]).await?;
        if let Outcome::Failed(why) = outcome {
            return Ok(Outcome::Failed(format!("{library}: {why}")));
        }
    }
    println!("-- the faults of the soak");
    clippy(runner, &["--package", "saga-examples", "--all-targets", "--all-features"]).await
}

/// Builds the documentation with warnings denied.
pub(super) async fn doc(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    made(runner, command, "mend what rustdoc says above").await
}

/// Checks what `cargo xtask tidy` checks.
pub(super) fn tidy() -> anyhow::Result<Outcome> {
    let findings = tidy::check(&Tree::load(&workspace::root())?);
    for finding in &findings {
        println!("{finding}");
    }
    Ok(match findings.len() {
        0 => Outcome::Passed,
        number => Outcome::Failed(format!("{} above", text::count(number, "finding"))),
    })
}

/// Runs cargo-deny where it is installed; the advisories are left out because they need a network.
pub(super) async fn deny(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let mut probe = cargo(&["deny", "--version"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().context("could not call cargo")?.success() {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    let command = cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"]);
    made(runner, command, "see deny.toml").await
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

/// Runs the command; a failure is told with what to do about it.
async fn made(runner: &mut Runner, command: Command, remedy: &str) -> anyhow::Result<Outcome> {
    let end = runner.run(command, |_| {}).await?;
    Ok(end.fault(remedy).map_or(Outcome::Passed, Outcome::Failed))
}
