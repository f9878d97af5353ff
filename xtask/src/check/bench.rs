//! The short look at our own speed as a check: it fails on wrong results, never on time.

use super::Outcome;
use super::child::Runner;
use crate::workspace;

pub(super) async fn smoke(runner: &mut Runner) -> anyhow::Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "bench", "smoke"]);
    let end = runner.run(command, |_| {}).await?;
    let fault = end.fault("the bench says all is well but does not exit 0");
    Ok(fault.map_or(Outcome::Passed, Outcome::Failed))
}
