//! One child process: started, awaited by a line of its output, watched, and never left behind.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a child may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How many of the last lines of its log are shown when a child fails.
const TAIL_LINES: usize = 8;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// What it is called here, and its log.
    pub name: &'a str,
    pub program: &'a Path,
    pub arguments: &'a [OsString],
    /// A variable that it gets beside those of this process.
    pub environment: Option<(&'static str, String)>,
    /// How the line of its standard output begins that says that it is ready; lines before it are
    /// for people.
    pub ready: &'static str,
}

/// A running child.
///
/// It is in its own process group, so that Ctrl-C reaches the demo alone, which then ends its
/// children in order. The child ends itself when its stdin is closed, so even a demo that was killed
/// leaves nothing running. Dropping a `Process` kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts a program, its log (stderr) in `folder`, and waits for the line on stdout that says that
    /// it is ready. Answers with the rest of that line.
    ///
    /// # Errors
    /// When the program cannot be started, ends before that line or does not say it for too long; the
    /// message holds the last lines of its log.
    pub(crate) async fn start(launch: Launch<'_>, folder: &Path) -> anyhow::Result<(Self, String)> {
        let Launch { name, program, arguments, environment, ready } = launch;
        let mut command = Command::new(program);
        command.args(arguments).envs(environment);
        Self::spawn(name, command, folder, ready).await
    }

    /// As [`Process::start`], of a command that is ready but for its pipes, and with the first line of
    /// its output whatever that is.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub(crate) async fn start_command(
        name: &str,
        command: Command,
        folder: &Path,
    ) -> anyhow::Result<(Self, String)> {
        Self::spawn(name, command, folder, "").await
    }

    async fn spawn(
        name: &str,
        mut command: Command,
        folder: &Path,
        ready: &str,
    ) -> anyhow::Result<(Self, String)> {
        let log = folder.join(format!("{name}.log"));
        let stderr = File::create(&log)
            .with_context(|| format!("could not create the log {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                let program = Path::new(command.as_std().get_program());
                format!("could not start {name} ({})", program.display())
            })?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let mut process = Self { name: name.to_owned(), child, stdin, log };
        let said = process.ready_line(stdout, ready).await?;
        Ok((process, said))
    }

    /// The id of the process, while it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Fails with the last lines of its log when the process has ended although nobody asked it to.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait();
        match ended.with_context(|| format!("could not ask after {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}){}", self.name, self.tail()),
        }
    }

    /// Waits until it ends, and tells how. Dropping the wait changes nothing.
    pub(crate) async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("could not wait for {}", self.name))
    }

    /// Kills it with SIGKILL: it gets no chance to tidy up.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("could not kill {}", self.name))
    }

    /// Asks it to end by closing its stdin; waits with [`Process::ended`].
    pub(crate) fn ask_to_end(&mut self) {
        self.stdin = None;
    }

    /// Tells it a line; one that does not listen any more is none the worse for it.
    pub(crate) async fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(line.as_bytes()).await.ok();
            stdin.flush().await.ok();
        }
    }

    /// Waits until it has ended, and fails with its last words when it did not end well within
    /// `grace`, after which it is killed.
    pub(crate) async fn ended_well(mut self, grace: Duration) -> anyhow::Result<()> {
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => bail!("{} did not end well{}", self.name, self.tail()),
            Err(_) => {
                self.child.kill().await.ok();
                bail!("{} did not end within {} s{}", self.name, grace.as_secs(), self.tail())
            }
        }
    }

    /// Waits until it has ended; after `grace` it is killed.
    pub(crate) async fn ended(mut self, grace: Duration) {
        if tokio::time::timeout(grace, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }

    /// Whether a line of its log holds these words.
    pub(crate) fn said(&self, words: &str) -> bool {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).contains(words)
    }

    /// The last lines of its log, introduced and indented; empty when it logged nothing.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut lines: Vec<&str> = log.lines().rev().take(TAIL_LINES).collect();
        if lines.is_empty() {
            return String::new();
        }
        lines.reverse();
        format!("\n  the last lines of {}:\n    {}", self.name, lines.join("\n    "))
    }

    /// Reads up to the line that begins with `ready` and leaves a task behind that empties the pipe,
    /// so that a child that says more is never blocked.
    async fn ready_line(&mut self, stdout: ChildStdout, ready: &str) -> anyhow::Result<String> {
        let mut lines = BufReader::new(stdout).lines();
        let found = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(rest) = line.trim_start().strip_prefix(ready) {
                    return Ok(Some(rest.trim_end().to_owned()));
                }
            }
            Ok::<_, std::io::Error>(None)
        };
        let found = match tokio::time::timeout(READY_WITHIN, found).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(self.ended_early().await),
            Ok(Err(error)) => {
                return Err(error).with_context(|| format!("could not read from {}", self.name));
            }
            Err(_) => bail!(
                "{} did not say that it is ready within {} s{}",
                self.name,
                READY_WITHIN.as_secs(),
                self.tail()
            ),
        };
        tokio::spawn(drain(lines));
        Ok(found)
    }

    async fn ended_early(&mut self) -> anyhow::Error {
        let status = tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await;
        let how = match status {
            Ok(Ok(status)) => format!("ended ({status})"),
            Ok(Err(_)) | Err(_) => "closed its output".to_owned(),
        };
        anyhow!("{} {how} before it was ready{}", self.name, self.tail())
    }
}

async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, folder: &Path) -> anyhow::Result<(Process, String)> {
        let arguments = ["-c".into(), script.into()];
        let (name, program) = ("child", Path::new("/bin/sh"));
        let launch =
            Launch { name, program, arguments: &arguments, environment: None, ready: "ready" };
        Process::start(launch, folder).await
    }

    #[tokio::test]
    async fn the_line_that_was_waited_for_tells_that_a_child_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo hello; echo '  ready at 7'; cat";
        let (mut process, rest) = shell(script, folder.path()).await.unwrap();
        assert_eq!(rest, " at 7");
        process.check_running().unwrap();
        process.ask_to_end();
        process.ended(Duration::from_secs(10)).await;
    }

    #[tokio::test]
    async fn a_child_that_dies_first_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let error = shell("echo 'the port is taken' >&2; exit 3", folder.path()).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("the port is taken"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_dies_later_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, _) = shell("echo ready; read line; exit 4", folder.path()).await.unwrap();
        process.ask_to_end();
        process.child.wait().await.unwrap();
        let text = process.check_running().unwrap_err().to_string();
        assert!(text.contains("child ended (exit status: 4)"), "{text}");
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_to_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, _) = shell("echo ready; exec sleep 600", folder.path()).await.unwrap();
        let pid = process.pid();
        process.ask_to_end();
        process.ended(Duration::from_millis(50)).await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
