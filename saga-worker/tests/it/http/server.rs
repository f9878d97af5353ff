//! A participant written byte by byte, so that it can misbehave in every way a network allows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the server sends back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing: the connection is closed at once.
    Close,
    /// Nothing, until the caller goes away.
    Silence,
}

/// A request as it arrived, with lower-case header names.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Value,
}

pub(super) struct Server {
    pub(super) url: String,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    /// Rings when a caller has gone away from a [`Reply::Silence`].
    pub(super) left: Arc<Notify>,
}

impl Server {
    /// Answers every request by `reply`, which is given the number of the request, from 0.
    pub(super) async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let left = Arc::new(Notify::new());
        let (reply, seen, gone) = (Arc::new(reply), requests.clone(), left.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, reply.clone(), seen.clone(), gone.clone()));
            }
        });
        Self { url, requests, left }
    }

    /// The only request there was.
    #[track_caller]
    pub(super) fn request(&self) -> Request {
        let requests = self.requests.lock().unwrap();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests[0].clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: Arc<impl Fn(usize) -> Reply>,
    seen: Arc<Mutex<Vec<Request>>>,
    gone: Arc<Notify>,
) {
    let Some(request) = read(&mut stream).await else { return };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    };
    match reply(number) {
        Reply::Bytes(bytes) => {
            // A caller that has read enough may have closed the connection.
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Close => {}
        Reply::Silence => {
            let left = tokio::time::timeout(Duration::from_secs(30), stream.read_u8()).await;
            assert!(left.expect("the caller leaves in the end").is_err());
            gone.notify_one();
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.ends_with(b"\r\n\r\n") {
            break bytes.len();
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    };
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line, headers, body: serde_json::from_slice(&body).unwrap() })
}
