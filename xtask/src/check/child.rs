//! Runs a command to its end: shown while it runs, ended when it takes too long or a person asks.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::interrupt::Interrupts;
use crate::text;

/// How long one command may take: a test that hangs must not use up the time of the whole CI run
/// and leave no summary behind.
const WITHIN: Duration = Duration::from_secs(30 * 60);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// On its own, with exit code 0.
    Succeeded,
    /// On its own, with another exit code or by a signal.
    Failed,
    /// It took longer than the time given and was killed with all its children.
    TookTooLong(Duration),
}

/// Runs commands until a signal comes.
#[derive(Debug)]
pub(super) struct Runner {
    interrupts: Interrupts,
    within: Duration,
}

impl Runner {
    /// A runner that listens for signals from now on.
    ///
    /// # Errors
    /// When the signals cannot be listened for.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupts: Interrupts::listen()?, within: WITHIN })
    }

    /// Runs a command, shows its stdout line by line and hands each line on.
    ///
    /// The command is in a process group of its own, so that its children, the tests, end with it.
    ///
    /// # Errors
    /// When the command cannot be run; an [`Interrupt`](crate::interrupt::Interrupt) when a signal
    /// came, which has then ended the command.
    pub(super) async fn run(
        &mut self,
        command: std::process::Command,
        each: impl FnMut(&str),
    ) -> anyhow::Result<End> {
        let mut child = Command::from(command)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("could not run a command")?;
        let group = child.id();
        let ended = tokio::select! {
            ended = to_the_end(&mut child, each) => return ended,
            () = tokio::time::sleep(self.within) => Ok(End::TookTooLong(self.within)),
            interrupt = self.interrupts.next() => Err(interrupt.into()),
        };
        // The demo tidies up when it is asked to end; a test that hangs does not listen.
        signal_group(group, if ended.is_ok() { "KILL" } else { "TERM" });
        child.wait().await.context("could not wait for a command")?;
        ended
    }
}

impl End {
    /// What to say of a command that did not succeed, given what to do about a plain failure.
    pub(super) fn fault(self, remedy: &str) -> Option<String> {
        match self {
            Self::Succeeded => None,
            Self::Failed => Some(remedy.to_owned()),
            Self::TookTooLong(within) => Some(format!(
                "took longer than {} and was killed; the last lines above say where it hangs",
                text::span(within)
            )),
        }
    }
}

async fn to_the_end(child: &mut Child, mut each: impl FnMut(&str)) -> anyhow::Result<End> {
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let mut lines = BufReader::new(stdout).split(b'\n');
    while let Some(line) = lines.next_segment().await.context("could not read from a command")? {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        each(&line);
    }
    let status = child.wait().await.context("could not wait for a command")?;
    Ok(if status.success() { End::Succeeded } else { End::Failed })
}

/// Sends a signal to every process of a group; the shell has the means, the standard library not.
fn signal_group(group: Option<u32>, signal: &str) {
    if let Some(group) = group {
        let kill = format!("kill -{signal} -{group}");
        std::process::Command::new("/bin/sh").args(["-c", &kill]).status().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_a_command_says_is_handed_on_line_by_line() {
        let mut lines = Vec::new();
        let command = shell("echo one; echo two; exit 3");
        let mut runner = Runner::new().unwrap();
        let end = runner.run(command, |line| lines.push(line.to_owned())).await.unwrap();
        assert_eq!((end, lines), (End::Failed, vec!["one".to_owned(), "two".to_owned()]));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let mut runner = Runner { within: Duration::from_millis(300), ..Runner::new().unwrap() };
        let mut pid = String::new();
        // The child holds the pipe open; it is gone only when nobody answers to its number.
        let command = shell("sleep 600 & echo $!; wait");
        let end = runner.run(command, |line| line.clone_into(&mut pid)).await.unwrap();
        assert_eq!(end, End::TookTooLong(Duration::from_millis(300)));
        assert!(end.fault("").is_some_and(|fault| fault.contains("took longer than 300 ms")));
        let gone = || !shell(&format!("kill -0 {pid} 2>/dev/null")).status().unwrap().success();
        let is_zombie = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") Z ")
        };
        let soon = tokio::time::timeout(Duration::from_secs(10), async {
            while !gone() && !is_zombie() {
                tokio::task::yield_now().await;
            }
        });
        soon.await.unwrap();
    }
}
