//! A TCP proxy between the barrier and its server, which breaks connections where it hurts most.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What the proxy does to the next COMMIT that comes by. It does it once.
#[derive(Debug, Clone)]
pub(crate) enum AtCommit {
    /// Breaks the connection; the server never sees the COMMIT.
    Lose,
    /// Passes it on, waits for the answer, and breaks the connection instead of delivering it.
    LoseAnswer,
    /// Breaks the connection to the client, and passes the COMMIT on when it is told to.
    Hold(Arc<Notify>),
}

/// A proxy on a port of its own.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    server: String,
    /// How many COMMITs pass before, and what happens to the next one.
    at_commit: Arc<Mutex<(u32, Option<AtCommit>)>>,
    silence: watch::Sender<u32>,
}

impl Proxy {
    /// A proxy before the server at `server`, a host and port.
    pub(crate) async fn before(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            server: server.to_owned(),
            at_commit: Arc::default(),
            silence: watch::Sender::new(0),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(accepting.clone().carry(client));
            }
        });
        proxy
    }

    pub(crate) fn break_next_commit(&self, how: AtCommit) {
        *self.at_commit.lock().unwrap() = (0, Some(how));
    }

    pub(crate) fn break_commit_after_next(&self, how: AtCommit) {
        *self.at_commit.lock().unwrap() = (1, Some(how));
    }

    fn at_commit(&self) -> Option<AtCommit> {
        let (before, how) = &mut *self.at_commit.lock().unwrap();
        match *before {
            0 => how.take(),
            _ => {
                *before -= 1;
                None
            }
        }
    }

    /// From now on nothing passes on the connections that there are, and nobody is told.
    pub(crate) fn silence_all(&self) {
        self.silence.send_modify(|nth| *nth += 1);
    }

    async fn carry(self, client: TcpStream) {
        let server = TcpStream::connect(&self.server).await.unwrap();
        let (mut client, mut server) = (client.into_split(), server.into_split());
        let mut silence = self.silence.subscribe();
        let broken = tokio::select! {
            broken = self.requests(&mut client.0, &mut server.1) => broken,
            // The end of either side ends the connection.
            _ = tokio::io::copy(&mut server.0, &mut client.1) => None,
            // The sockets stay open, and nobody reads them any more.
            _ = silence.changed() => std::future::pending().await,
        };
        drop(client);
        match broken {
            None | Some((AtCommit::Lose, _)) => return,
            Some((AtCommit::LoseAnswer, commit)) => server.1.write_all(&commit).await.unwrap(),
            Some((AtCommit::Hold(go_on), commit)) => {
                go_on.notified().await;
                server.1.write_all(&commit).await.unwrap();
            }
        }
        // Once it has answered, the server has committed, whether or not anybody hears of it.
        server.0.read_u8().await.unwrap();
    }

    /// Passes requests on, until there are no more, or the COMMIT comes that is to be broken.
    async fn requests(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Option<(AtCommit, Vec<u8>)> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return None };
            let bytes = &buffer[..length];
            if bytes.windows(7).any(|part| part == b"COMMIT\0")
                && let Some(how) = self.at_commit()
            {
                return Some((how, bytes.to_vec()));
            }
            to.write_all(bytes).await.unwrap();
        }
    }
}
