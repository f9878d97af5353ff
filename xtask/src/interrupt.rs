//! The signals that end a command early.

use std::fmt;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the signals from its creation on.
#[derive(Debug)]
pub(crate) struct Interrupts {
    sigint: Signal,
    sigterm: Signal,
    sighup: Signal,
}

/// A signal that asked the command to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupt {
    /// What the person did, in words.
    pub cause: &'static str,
    /// The exit code by convention: 128 and the number of the signal.
    pub exit_code: u8,
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; nothing is left running", self.cause)
    }
}

impl std::error::Error for Interrupt {}

impl Interrupts {
    /// Takes the signals over from their default, which would leave children behind.
    ///
    /// # Errors
    /// When the operating system refuses the handlers.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            sigint: listen(SignalKind::interrupt())?,
            sigterm: listen(SignalKind::terminate())?,
            sighup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the first of the signals.
    pub(crate) async fn next(&mut self) -> Interrupt {
        let (cause, exit_code) = tokio::select! {
            _ = self.sigint.recv() => ("interrupted by Ctrl-C", 130),
            _ = self.sigterm.recv() => ("ended by SIGTERM", 143),
            _ = self.sighup.recv() => ("the terminal was closed", 129),
        };
        Interrupt { cause, exit_code }
    }
}
