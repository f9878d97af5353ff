//! What a person sees: lines, and below them one live line that is rewritten.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a live line becomes a lasting one where lines cannot be rewritten.
const LASTING_EVERY: Duration = Duration::from_secs(3);
/// The longest live line: one that wraps could not be rewritten.
const LIVE_CHARS_MAX: usize = 79;
/// Takes the live line away.
const CLEAR: &str = "\r\x1b[2K";

/// Writes for people: to stdout, or to stderr when stdout is kept for the JSON object.
///
/// A reader that went away (a closed pipe) is no reason to leave services running, so failed writes
/// are ignored.
#[derive(Debug)]
pub(crate) struct Screen {
    to_stderr: bool,
    rewrites: bool,
    live: bool,
    lasted: Option<Instant>,
}

impl Screen {
    /// A screen on stderr if stdout is for the JSON object, else on stdout.
    pub(crate) fn new(json: bool) -> Self {
        let rewrites = match json {
            true => std::io::stderr().is_terminal(),
            false => std::io::stdout().is_terminal(),
        };
        Self { to_stderr: json, rewrites, live: false, lasted: None }
    }

    /// Writes a line that stays.
    pub(crate) fn say(&mut self, line: impl AsRef<str>) {
        let clear = if self.live { CLEAR } else { "" };
        self.live = false;
        self.write(&format!("{clear}{}\n", line.as_ref()));
    }

    /// Rewrites the live line; without a terminal, writes one every few seconds.
    pub(crate) fn live(&mut self, line: impl AsRef<str>) {
        if self.rewrites {
            self.live = true;
            let shown: String = line.as_ref().chars().take(LIVE_CHARS_MAX).collect();
            self.write(&format!("{CLEAR}{shown}"));
        } else if self.lasted.is_none_or(|at| at.elapsed() >= LASTING_EVERY) {
            self.lasted = Some(Instant::now());
            self.write(&format!("{}\n", line.as_ref()));
        }
    }

    fn write(&self, text: &str) {
        let written = match self.to_stderr {
            true => std::io::stderr().write_all(text.as_bytes()),
            false => std::io::stdout().write_all(text.as_bytes()),
        };
        written.and_then(|()| std::io::stdout().flush()).ok();
    }
}

impl Drop for Screen {
    /// What is written next, perhaps an error, gets a line of its own.
    fn drop(&mut self) {
        if self.live {
            self.write(CLEAR);
        }
    }
}
