//! Requests that are wrong, too big, too slow or from elsewhere.

use std::time::Duration;

use reqwest::Method;
use saga_daemon::{Daemon, DaemonError, Limits};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, World, memory};

#[tokio::test]
async fn nothing_is_ever_answered_in_plain_text() {
    let world = World::new().await;
    let (get, post) = (Method::GET, Method::POST);
    let cases = [
        (&get, "/nothing", 404, "unknown-route"),
        (&get, "/v1/sagas/x/y/z", 404, "unknown-route"),
        (&post, "/healthz", 405, "method-not-allowed"),
        (&Method::DELETE, "/v1/sagas/x", 405, "method-not-allowed"),
        (&get, "/v1/sagas/x", 400, "malformed-request"),
        (&get, "/v1/sagas/%ff", 400, "malformed-request"),
        (&get, "/v1/sagas?status=done", 400, "malformed-request"),
        (&get, "/v1/sagas?statsu=stuck", 400, "malformed-request"),
        (&get, "/v1/sagas?limit=0", 400, "malformed-request"),
        (&get, "/v1/sagas?limit=501", 400, "malformed-request"),
        (&get, "/v1/sagas?limit=1&limit=2", 400, "malformed-request"),
        (&get, "/v1/sagas?before=x", 400, "malformed-request"),
        (&get, "/v1/sagas?key=%ff", 400, "malformed-request"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6", 404, "saga-not-found"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6/log", 404, "saga-not-found"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6/events", 404, "saga-not-found"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6?wait=1d", 400, "malformed-request"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6?wait=61s", 400, "malformed-request"),
        (&get, "/v1/sagas/0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6?wait=1s", 404, "saga-not-found"),
    ];
    for (method, path, status, kind) in cases {
        let answer = world.api.send(world.api.request(method.clone(), path)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let delete = world.api.send(world.api.request(Method::DELETE, "/v1/sagas/x")).await;
    assert_eq!(delete.header("allow"), "GET, HEAD, POST");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused_before_anything_reads_it() {
    let world = World::limited(Limits { body_bytes_max: 1_000, ..Limits::default() }).await;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let bodies: [(&str, Vec<u8>, u16); 6] = [
        ("application/json", b"{\"order\": ".to_vec(), 400),
        ("application/json", b"\xff\xfe".to_vec(), 400),
        ("application/json", deep.into_bytes(), 400),
        ("application/json", vec![b' '; 1_001], 413),
        ("text/plain", b"{}".to_vec(), 415),
        ("application/x-www-form-urlencoded", b"a=b".to_vec(), 415),
    ];
    for (media_type, body, status) in bodies {
        let request = world.api.request(Method::POST, "/v1/sagas/place-order");
        let request = request.header("content-type", media_type).body(body);
        let answer = world.api.send(request).await;
        assert_eq!(answer.status, status, "{media_type}: {}", answer.raw);
        answer.problem();
    }
    // What a page of another site can send without asking.
    let simple = world.api.send(world.api.request(Method::POST, "/v1/sagas/place-order")).await;
    assert_eq!(simple.problem(), "not-json");
    assert_eq!(world.api.get("/v1/sagas").await.body["sagas"], json!([]));
}

#[tokio::test]
async fn on_loopback_a_foreign_host_is_turned_away_on_every_path() {
    let world = World::with(memory(), |builder| builder.hosts(["sagas.internal".to_owned()])).await;
    let ask = |path: &str, host: &str| {
        world.api.send(world.api.request(Method::GET, path).header("Host", host))
    };
    for path in ["/healthz", "/v1/sagas", "/nothing"] {
        let foreign = ask(path, "evil.example:80").await;
        assert_eq!((foreign.status, foreign.problem().as_str()), (421, "wrong-host"), "{path}");
    }
    for host in
        ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.8.8:80", "[::1]:7878", "sagas.internal"]
    {
        assert_eq!(ask("/healthz", host).await.status, 200, "{host}");
    }
    for host in ["localhost.evil.example", "127.0.0.1.evil.example", "[::2]"] {
        assert_eq!(ask("/healthz", host).await.status, 421, "{host}");
    }
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_keys_unless_it_is_said() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = Daemon::builder(memory()).start(listener).await.unwrap_err();
    assert!(matches!(refused, DaemonError::Exposed { .. }));
    assert!(refused.to_string().contains("--insecure"), "{refused}");
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(Daemon::builder(memory()).insecure().start(listener).await.is_ok());
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (keys, _) = crate::support::keys();
    assert!(Daemon::builder(memory()).keys(keys).start(listener).await.is_ok());
}

/// Whether the server has closed a connection, within the time that tests have.
async fn is_closed(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    // A reset is an end as well.
    drop(read);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off_and_disturbs_nobody() {
    let limits = Limits { head_within: Duration::from_millis(200), ..Limits::default() };
    let world = World::limited(limits).await;
    let address = world.api.url.trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(world.api.get("/healthz").await.status, 200);
    for stream in slow {
        assert!(!is_closed(stream).await.contains("200 OK"));
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_with_a_problem() {
    let limits = Limits { body_within: Duration::from_millis(200), ..Limits::default() };
    let world = World::limited(limits).await;
    let address = world.api.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/sagas/place-order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = is_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body-too-slow"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let daemon = Daemon::builder(memory()).limits(limits).start(listener).await.unwrap();
    let running = tokio::spawn(daemon.run(shutdown.clone()));
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    first.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let mut second = TcpStream::connect(address).await.unwrap();
    let ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    second.write_all(ask).await.unwrap();
    let early = timeout(Duration::from_millis(200), second.readable()).await;
    assert!(early.is_err(), "it was served beside the first");
    drop(first);
    assert!(is_closed(second).await.starts_with("HTTP/1.1 200 OK"));
    shutdown.cancel();
    timeout(PATIENCE, running).await.expect("it ends").unwrap();
}

/// Every way to be reached, with and without keys and the word that it is meant.
#[tokio::test]
async fn who_may_listen_where_without_keys() {
    let given = |keys: bool, insecure: bool| {
        move |builder: saga_daemon::DaemonBuilder| {
            let builder = if keys { builder.keys(crate::support::keys().0) } else { builder };
            if insecure { builder.insecure() } else { builder }
        }
    };
    for (address, keys, insecure, may) in [
        ("127.0.0.1:0", false, false, true),
        ("127.0.0.1:0", true, false, true),
        ("127.8.8.8:0", false, false, true),
        ("[::1]:0", false, false, true),
        ("0.0.0.0:0", false, false, false),
        ("0.0.0.0:0", true, false, true),
        ("0.0.0.0:0", false, true, true),
        ("[::]:0", false, false, false),
        ("[::]:0", true, false, true),
    ] {
        // A machine may be without addresses of version 6.
        let Ok(listener) = TcpListener::bind(address).await else { continue };
        let builder = given(keys, insecure)(Daemon::builder(memory()));
        let started = builder.start(listener).await;
        assert_eq!(started.is_ok(), may, "{address}, keys: {keys}, insecure: {insecure}");
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_compressed_is_not_unpacked() {
    let world = World::new().await;
    // A bomb would be small as sent; what counts here is that nobody looks into it.
    let request = world.api.request(Method::POST, "/v1/sagas/place-order");
    let request =
        request.header("content-encoding", "gzip").header("content-type", "application/json");
    let packed: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0];
    let answer = world.api.send(request.body(packed)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed-request"));
    assert_eq!(world.api.get("/v1/sagas").await.body["sagas"], json!([]));
}

/// A store whose errors hold what nobody outside should read.
#[tokio::test]
async fn what_a_driver_says_stays_in_the_log() {
    let problem = saga_daemon::problem::Problem::from(saga_core::store::StoreError::Unavailable(
        "connection to 10.1.2.3:5432 as saga_run refused: password hush".to_owned(),
    ));
    let response = axum::response::IntoResponse::into_response(problem);
    assert_eq!(response.status(), 503);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("the store does not answer"), "{text}");
    for inside in ["10.1.2.3", "saga_run", "hush"] {
        assert!(!text.contains(inside), "{text}");
    }
}
