//! What a daemon listens to: signals to end and to reload, and the end of standard input where that
//! was asked for.

use std::io;

use tokio_util::sync::CancellationToken;

use crate::config::WithStdin;

/// Begins the drain when standard input ends, as it does when the parent process dies.
pub(super) fn end_with_stdin(stdin: WithStdin, shutdown: CancellationToken) {
    if stdin == WithStdin::Ends {
        // A plain thread, because a runtime waits at its end for a blocking read of its own.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            shutdown.cancel();
        });
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end.
    End,
    /// To read configuration and definitions again.
    Reload,
}

/// The signals of this process. From when there is one, they have no effect but through it.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// The next one that asks to end, and with which code; others have to wait.
    pub(super) async fn end(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}

/// Ctrl-C; there is nothing else.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
        Asked::End
    }

    /// The next one that asks to end, and with which code.
    pub(super) async fn end(&mut self) -> u8 {
        self.next().await;
        130
    }
}
