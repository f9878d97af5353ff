//! Telling systemd how a daemon is (`Type=notify`), where it asks to be told.

use std::convert::Infallible;
use std::time::Duration;

use socket::Socket;

/// The way to the supervisor; does nothing where there is none.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: Option<Socket>,
}

impl Supervisor {
    /// The supervisor that `NOTIFY_SOCKET` names.
    pub(super) fn find() -> Self {
        Self { socket: std::env::var_os("NOTIFY_SOCKET").and_then(|name| socket::connect(&name)) }
    }

    /// The daemon serves.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The drain has begun.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Shows that the runtime still turns, as often as `WATCHDOG_USEC` asks for; for ever.
    pub(super) async fn keep_alive(&self) -> Infallible {
        let Some(every) = watchdog(|name| std::env::var(name).ok()) else {
            return std::future::pending().await;
        };
        loop {
            self.tell("WATCHDOG=1");
            tokio::time::sleep(every).await;
        }
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket::send(socket, state)
        {
            tracing::warn!(%error, state, "the supervisor cannot be told");
        }
    }
}

#[cfg(target_os = "linux")]
mod socket {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    pub(super) type Socket = UnixDatagram;

    /// A path, or the name of an abstract socket after an `@`.
    pub(super) fn connect(name: &OsStr) -> Option<Socket> {
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
            None => SocketAddr::from_pathname(name),
        };
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok(socket)
        });
        let warn =
            |error: &io::Error| tracing::warn!(%error, ?name, "NOTIFY_SOCKET cannot be used");
        connected.inspect_err(warn).ok()
    }

    pub(super) fn send(socket: &Socket, state: &str) -> io::Result<()> {
        socket.send(state.as_bytes()).map(drop)
    }
}

/// There is no systemd elsewhere.
#[cfg(not(target_os = "linux"))]
mod socket {
    use std::convert::Infallible;
    use std::ffi::OsStr;
    use std::io;

    pub(super) type Socket = Infallible;

    pub(super) fn connect(_: &OsStr) -> Option<Socket> {
        None
    }

    pub(super) fn send(socket: &Socket, _: &str) -> io::Result<()> {
        match *socket {}
    }
}

/// Half of what the watchdog waits, if it watches this process.
fn watchdog(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let micros: u64 = variable("WATCHDOG_USEC")?.parse().ok().filter(|micros| *micros > 0)?;
    let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    ours.then(|| Duration::from_micros(micros) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_asks_and_only_by_its_own_process() {
        let asked = |micros: &str, pid: Option<String>| {
            let (micros, pid) = (micros.to_owned(), pid.clone());
            watchdog(move |name| match name {
                "WATCHDOG_USEC" => Some(micros.clone()),
                "WATCHDOG_PID" => pid.clone(),
                _ => None,
            })
        };
        assert_eq!(asked("30000000", None), Some(Duration::from_secs(15)));
        let own = Some(std::process::id().to_string());
        assert_eq!(asked("2000000", own), Some(Duration::from_secs(1)));
        assert_eq!(asked("2000000", Some("1".to_owned())), None);
        assert_eq!(asked("soon", None), None);
        assert_eq!(watchdog(|_| None), None);
    }
}
