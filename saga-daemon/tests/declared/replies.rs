//! What a hostile participant may answer, and what comes of it: never more than an unknown outcome.

use std::sync::Arc;
use std::time::Duration;

use saga_core::{Failure, MemoryStore, Payload};
use saga_daemon::declared::{Declared, Options};
use saga_worker::{Settled, SystemClock, Worker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Given, call, declare};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that answers each connection with these bytes, and then with those again and again.
async fn server(answer: Vec<u8>, then: Option<(&'static [u8], Duration)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                while let Some((more, pause)) = then {
                    if stream.write_all(more).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    url
}

fn definition(url: &str) -> Declared {
    let text = format!(
        "name: a\nallow_hosts: [127.0.0.1]\nsteps:\n  - name: a\n    pivot: {{ url: {url}/a, answer_max: 64KiB }}\n    timeout: 300ms\n    retry: {{ attempts: 1 }}\n"
    );
    declare(&text, &Options::default())
}

/// What one call makes of an answer, without the time limit, which is the worker's.
async fn answered(
    answer: Vec<u8>,
    then: Option<(&'static [u8], Duration)>,
) -> Result<Payload, Failure> {
    let declared = definition(&server(answer, then).await);
    let called = call(&declared.definition, 0, Given::default());
    tokio::time::timeout(PATIENCE, called).await.expect("it is cut at its bound")
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn message(answer: Result<Payload, Failure>) -> String {
    match answer {
        Err(Failure::Transient(transient)) => transient.message,
        other => panic!("the outcome is known: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_leaves_the_outcome_unknown() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert!(answered(ok(nested(64).as_bytes()), None).await.is_ok(), "that much is read");
    let said = message(answered(ok(nested(20_000).as_bytes()), None).await);
    assert!(said.contains("more than 64 deep"), "{said}");
    let cases: [(&str, Vec<u8>); 11] = [
        ("nothing", Vec::new()),
        ("noise", b"\x00\xff\x16\x03\x01 no http\r\n\r\n".to_vec()),
        ("half a head", b"HTTP/1.1 200 OK\r\nContent-Len".to_vec()),
        ("less than it says", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_vec()),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".to_vec(),
        ),
        ("a status that is none", b"HTTP/1.1 999999 What\r\n\r\n".to_vec()),
        ("no utf-8", ok(b"{\"a\": \"\xff\xfe\"}")),
        ("nested too deep", ok(nested(65).as_bytes())),
        ("nested without end", ok("[".repeat(60_000).as_bytes())),
        ("over the bound", ok(&vec![b' '; 100_000])),
        ("broken json", ok(b"{\"a\": ")),
    ];
    for (what, answer) in cases {
        let said = message(answered(answer, None).await);
        assert!(!said.is_empty() && said.len() < 2_000, "{what}: {said}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = server(ok(b"{\"secret\": 1}"), None).await;
    for status in ["301", "302", "303", "307", "308"] {
        let redirect = format!(
            "HTTP/1.1 {status} Over There\r\nLocation: {inside}/meta-data\r\nContent-Length: 0\r\n\r\n"
        );
        let said = message(answered(redirect.into_bytes(), None).await);
        assert!(said.contains(status), "{said}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_bound() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk: &[u8] = b"10\r\n0123456789abcdef\r\n";
    let said = message(answered(head, Some((chunk, Duration::ZERO))).await);
    assert!(said.contains("65536"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_trickles_is_given_up_at_the_time_of_its_step() {
    let pause = Duration::from_millis(20);
    let cases: [(&[u8], &'static [u8]); 3] = [
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b" "),
    ];
    for (head, drop) in cases {
        let declared = definition(&server(head.to_vec(), Some((drop, pause))).await);
        let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
        let worker = Worker::builder(store).register(declared.definition).start().await.unwrap();
        let started = worker.start("a", &()).await.unwrap();
        let settled = tokio::time::timeout(PATIENCE, started.settled()).await.expect("in time");
        let Settled::Stuck(wait) = settled.unwrap() else { panic!("its outcome is unknown") };
        assert!(wait.text.contains("pivot"), "{}", wait.text);
        worker.shutdown().await;
    }
}

#[tokio::test]
async fn an_odd_charset_and_doubled_keys_are_read_as_json_says_or_refused() {
    let mut latin = ok(b"{\"a\": 1}");
    latin = String::from_utf8(latin)
        .unwrap()
        .replace("application/json", "text/html; charset=utf-7")
        .into_bytes();
    assert!(answered(latin, None).await.is_ok(), "the type of an answer does not matter");
    match answered(ok(b"{\"a\": 1, \"a\": 2}"), None).await {
        Ok(output) => {
            let value: serde_json::Value = output.decode().unwrap();
            assert_eq!(value, serde_json::json!({ "a": 2 }), "the last one counts");
        }
        Err(failure) => assert!(matches!(failure, Failure::Transient(_)), "{failure}"),
    }
}
