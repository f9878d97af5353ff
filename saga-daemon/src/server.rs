//! Accepting connections: bounded in number, in the time a handshake and a head may take, and in the
//! time the end may take.

mod stall;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::service::Limits;
use crate::tls::Tls;
use stall::Stalling;

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept: files or memory are short, and trying again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a client gets that speaks plain HTTP where TLS is expected.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 43\r\nConnection: close\r\n\r\nThis port speaks TLS: ask for https://... .";

/// The other end of the connection that a request came by, as a part of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves until `closing` fires, then lets requests under way come to an end.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    tls: Option<&Tls>,
    closing: &CancellationToken,
    tasks: &TaskTracker,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(HEAD_BYTES_MAX);
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers and events are not to wait for more to send.
        let _ = stream.set_nodelay(true);
        let serving = Serving {
            builder: builder.clone(),
            router: router.clone(),
            closing: closing.clone(),
            write_within: limits.write_within,
            peer: stream.peer_addr().ok().as_ref().map(SocketAddr::ip).map(Peer),
        };
        let handshake = tls.map(|tls| (tls.current(), limits.handshake_within, closing.clone()));
        tasks.spawn(async move {
            let _place = place;
            let Some((config, within, closing)) = handshake else {
                return serving.run(stream).await;
            };
            let shaken = tokio::select! {
                biased;
                () = closing.cancelled() => None,
                shaken = shake_hands(stream, config, within) => shaken,
            };
            if let Some(stream) = shaken {
                serving.run(stream).await;
            }
        });
    }
    drop(listener);
    tasks.close();
    if timeout(limits.close_within, tasks.wait()).await.is_err() {
        tracing::warn!("connections were still open at the end and have been cut");
    }
}

/// What it takes to serve one connection.
struct Serving {
    builder: http1::Builder,
    router: Router,
    closing: CancellationToken,
    write_within: Duration,
    peer: Option<Peer>,
}

impl Serving {
    async fn run<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) {
        let (router, peer) = (TowerToHyperService::new(self.router), self.peer);
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            router.call(request)
        });
        let stream = TokioIo::new(Stalling::new(stream, self.write_within));
        let connection = self.builder.serve_connection(stream, service).with_upgrades();
        let mut connection = pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}

/// TLS on a connection; `None` when it does not come about within its time.
async fn shake_hands(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    within: Duration,
) -> Option<TlsStream<TcpStream>> {
    let shaken = async {
        if is_plain_http(&stream).await? {
            stream.write_all(SPEAK_TLS).await?;
            stream.shutdown().await?;
            return Err(io::Error::other("plain HTTP"));
        }
        TlsAcceptor::from(config).accept(stream).await
    };
    match timeout(within, shaken).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            None
        }
    }
}

/// Whether the first byte is a letter, as of a method; that of a handshake is none.
async fn is_plain_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase())
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}
