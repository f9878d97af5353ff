//! A small TCP proxy between workers and PostgreSQL that cuts, freezes and silences connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// They pass.
    Open,
    /// They wait, in both directions, and pass later.
    Frozen,
    /// They are lost for ever, and nobody is told.
    Silent,
    /// Both ends are closed.
    Cut,
}

/// A listening proxy. Dropping it cuts every connection.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    lines: Lines,
    accepting: tokio::task::JoinHandle<()>,
}

type Lines = Arc<Mutex<Vec<watch::Sender<Line>>>>;

impl Proxy {
    /// Listens on a free port and passes everything on to `server_port`.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub(super) async fn start(server_port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let port = listener.local_addr().context("cannot tell the proxy's port")?.port();
        let lines = Lines::default();
        let accepting = tokio::spawn(accept(listener, server_port, Arc::clone(&lines)));
        Ok(Self { port, lines, accepting })
    }

    /// The URL of a database behind the proxy.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://saga@127.0.0.1:{}/{database}", self.port)
    }

    /// Does this to each connection that `chosen` picks; connections to come are open.
    pub(super) fn turn(&self, line: Line, mut chosen: impl FnMut() -> bool) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|connection| !connection.is_closed());
        for connection in lines.iter().filter(|_| chosen()) {
            // What was silenced has lost bytes and can never be opened again.
            connection.send_if_modified(|now| {
                let turns = *now != line && (*now != Line::Silent || line == Line::Cut);
                if turns {
                    *now = line;
                }
                turns
            });
        }
    }

    /// Holds everything back for a while.
    pub(super) async fn freeze(&self, pause: Duration) {
        self.turn(Line::Frozen, || true);
        tokio::time::sleep(pause).await;
        self.turn(Line::Open, || true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.turn(Line::Cut, || true);
    }
}

async fn accept(listener: TcpListener, server_port: u16, lines: Lines) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (sender, line) = watch::channel(Line::Open);
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        tokio::spawn(async move {
            // A server that is down refuses, and the client sees its connection closed.
            if let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await {
                pass(client, server, line).await;
            }
        });
    }
}

async fn pass(client: TcpStream, server: TcpStream, mut line: watch::Receiver<Line>) {
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut copies = tokio::task::JoinSet::new();
    copies.spawn(copy(from_client, to_server, line.clone()));
    copies.spawn(copy(from_server, to_client, line.clone()));
    tokio::select! {
        _ = line.wait_for(|line| *line == Line::Cut) => {}
        // One end was closed: so is the other. A silenced end is never noticed to be closed.
        _ = copies.join_next() => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let Ok(now) = line.wait_for(|line| *line != Line::Frozen).await.map(|line| *line) else {
            return;
        };
        if now == Line::Silent {
            continue;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
    // Where bytes are lost, so is the news that there will be no more.
    if *line.borrow() == Line::Silent {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = peer.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        port
    }

    async fn says(client: &mut TcpStream, word: &[u8; 4]) -> bool {
        client.write_all(word).await.unwrap();
        let mut heard = [0; 4];
        let read = client.read_exact(&mut heard);
        let read = tokio::time::timeout(Duration::from_millis(200), read).await;
        matches!(read, Ok(Ok(_))) && heard == *word
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()
    }

    #[tokio::test]
    async fn a_silenced_connection_answers_nothing_while_new_ones_work() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut old = client(&proxy).await;
        assert!(says(&mut old, b"ping").await);
        proxy.turn(Line::Silent, || true);
        assert!(!says(&mut old, b"ping").await);
        proxy.turn(Line::Open, || true);
        assert!(!says(&mut old, b"ping").await);
        assert!(says(&mut client(&proxy).await, b"pong").await);
    }

    #[tokio::test]
    async fn a_frozen_connection_loses_nothing() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut client = client(&proxy).await;
        assert!(says(&mut client, b"ping").await);
        proxy.turn(Line::Frozen, || true);
        assert!(!says(&mut client, b"held").await);
        proxy.turn(Line::Open, || true);
        let mut heard = [0; 4];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"held");
    }

    #[tokio::test]
    async fn a_cut_connection_ends() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut client = client(&proxy).await;
        assert!(says(&mut client, b"ping").await);
        proxy.turn(Line::Cut, || true);
        assert!(!matches!(client.read(&mut [0; 4]).await, Ok(1..)));
    }
}
