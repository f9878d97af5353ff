//! A listener whose connections a handler can break off, as a crash or a cut cable would.
//!
//! A handler that calls [`HangUp::now`] sends no byte of an answer: every later write to the
//! connection fails, so the server closes it, and the client sees it end without a status line.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A TCP listener for [`axum::serve()`] whose connections carry a [`HangUp`], which handlers
/// receive as `ConnectInfo<HangUp>`.
#[derive(Debug)]
pub struct BreakableListener(pub TcpListener);

/// The right to break off one connection.
#[derive(Debug, Clone, Default)]
pub struct HangUp(Arc<AtomicBool>);

impl HangUp {
    /// From now on nothing is sent on the connection, and the server closes it at the first
    /// attempt to answer.
    pub fn now(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "a handler broke the connection off",
            ));
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, BreakableListener>> for HangUp {
    fn connect_info(stream: IncomingStream<'_, BreakableListener>) -> Self {
        stream.io().hang_up.clone()
    }
}

impl Listener for BreakableListener {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BreakableStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        (BreakableStream { stream, hang_up: HangUp::default() }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection of a [`BreakableListener`].
#[derive(Debug)]
pub struct BreakableStream {
    stream: TcpStream,
    hang_up: HangUp,
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hang_up.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hang_up.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
