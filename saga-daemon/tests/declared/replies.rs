//! What a hostile participant may answer, and what comes of it: never more than an unknown outcome.

use std::time::{Duration, Instant};

use saga_core::{Failure, Payload};
use saga_daemon::declared::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Given, call, declare};

/// A server that answers each connection with these bytes, then trickles or closes.
async fn server(answer: Vec<u8>, trickle: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                while let Some(drop) = trickle {
                    if stream.write_all(drop).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    });
    url
}

async fn answered(answer: Vec<u8>, trickle: Option<&'static [u8]>) -> Result<Payload, Failure> {
    let url = server(answer, trickle).await;
    let text = format!(
        "name: a\nallow_hosts: [127.0.0.1]\nsteps:\n  - name: a\n    pivot: {{ url: {url}/a, answer_max: 64KiB }}\n    timeout: 2s\n"
    );
    let declared = declare(&text, &Options::default());
    let within = tokio::time::timeout(
        Duration::from_secs(60),
        call(&declared.definition, 0, Given::default()),
    );
    within.await.expect("no answer is waited for without end")
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
    let deep = "[".repeat(100_000);
    let cases: [(&str, Vec<u8>); 10] = [
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
        ("nested deep", ok(deep.as_bytes())),
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
async fn an_answer_without_end_is_cut_at_its_bound_and_one_that_trickles_at_its_time() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let begun = Instant::now();
    message(answered(head.clone(), Some(&[b'1'; 1_024])).await);
    let chunk = b"400\r\n0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
    message(answered(head, Some(chunk)).await);
    message(answered(b"HTTP/1.1 200 OK\r\n".to_vec(), Some(b"X-A: b\r\n")).await);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
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
