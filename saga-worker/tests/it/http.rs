//! The participant protocol on the wire.

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, Url};
use saga_core::{
    BoxFuture, Bucket, CancelSignal, Cancellation, Definition, Failure, MemoryStore, Op, Payload,
    Rejection, RetryPolicy, SagaId, Stage, StepContext, StepIndex, StepOutput, Transient,
    TransientCause, TypeKey, Verdict,
};
use saga_worker::{HttpCall, HttpParticipant, HttpRequest, MapRequest, SystemClock, Worker};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use server::{Reply, Server};

struct Signal(CancellationToken);

impl CancelSignal for Signal {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn cancelled(&self) -> BoxFuture<()> {
        Box::pin(self.0.clone().cancelled_owned())
    }
}

fn context(op: Op, cancel: &CancellationToken) -> StepContext {
    let earlier = StepOutput {
        step: "price".into(),
        gives: TypeKey::of::<Value>(),
        value: Payload::from_json(r#"{"cents":  499}"#).unwrap(),
    };
    StepContext {
        saga_id: SagaId::new(1, 2, Bucket::of("a", 1)),
        saga: "buy".into(),
        step: "reserve".into(),
        op,
        attempt: 3,
        gives: TypeKey::of::<Value>(),
        input: Payload::from_json(r#"{"order":"order-17"}"#).unwrap(),
        outputs: vec![earlier],
        cancellation: Cancellation::new(Signal(cancel.clone())),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}

async fn call_with(url: &str, op: Op, cancel: CancellationToken) -> Result<Payload, Failure> {
    let participant = HttpParticipant::new("inventory", url).unwrap();
    let step = participant.compensatable("reserve", "reserve", "release").unwrap();
    let definition = Definition::new("buy", [step]).unwrap();
    let calls = definition.calls(StepIndex(0)).unwrap();
    let call = match op {
        Op::Action => &calls.action,
        Op::Compensation => calls.compensation.as_ref().unwrap(),
    };
    call.call(context(op, &cancel)).await
}

async fn call(url: &str) -> Result<Payload, Failure> {
    call_with(url, Op::Action, CancellationToken::new()).await
}

fn response(status: &str, headers: &[&str], body: &str) -> Reply {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    Reply::Bytes(text.into_bytes())
}

/// What the worker makes of one response.
async fn meaning(status: &str, headers: &[&str], body: &str) -> Result<Payload, Failure> {
    let reply = response(status, headers, body);
    call(&Server::start(move |_| reply.clone()).await.url).await
}

#[track_caller]
fn rejection(answer: Result<Payload, Failure>) -> Rejection {
    match answer {
        Err(Failure::Rejected(rejection)) => rejection,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[track_caller]
fn unknown(answer: Result<Payload, Failure>) -> Transient {
    match answer {
        Err(Failure::Transient(transient)) => transient,
        other => panic!("expected an unknown outcome, got {other:?}"),
    }
}

#[tokio::test]
async fn a_call_carries_exactly_the_headers_and_the_body_of_the_protocol() {
    for (op, path, word) in
        [(Op::Action, "reserve", "action"), (Op::Compensation, "release", "compensation")]
    {
        let server = Server::start(|_| response("200 OK", &[], "")).await;
        let url = format!("{}/v1/", server.url);
        call_with(&url, op, CancellationToken::new()).await.unwrap();
        let request = server.request();
        assert_eq!(request.line, format!("POST /v1/{path} HTTP/1.1"));
        let saga_id = SagaId::new(1, 2, Bucket::of("a", 1)).to_string();
        let key = format!("{saga_id}:reserve:{word}");
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let expected = [
            ("idempotency-key", key.as_str()),
            ("x-saga-id", &saga_id),
            ("x-saga-step", "reserve"),
            ("x-saga-op", word),
            ("x-saga-attempt", "3"),
            ("traceparent", traceparent),
            ("content-type", "application/json"),
        ];
        let mut headers = request.headers.clone();
        for usual in ["host", "content-length", "accept"] {
            headers.remove(usual);
        }
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, BTreeMap::from(expected));
        let body = json!({
            "saga_id": saga_id, "saga": "buy", "step": "reserve", "attempt": 3,
            "input": {"order": "order-17"}, "outputs": {"price": {"cents": 499}},
        });
        assert_eq!(request.body, body);
    }
}

#[tokio::test]
async fn success_is_processed_and_an_empty_body_is_null() {
    assert_eq!(meaning("200 OK", &[], r#"{"a": 1}"#).await.unwrap().as_json(), r#"{"a": 1}"#);
    assert_eq!(meaning("201 Created", &[], "[2]").await.unwrap().as_json(), "[2]");
    assert_eq!(meaning("200 OK", &[], "").await.unwrap(), Payload::null());
    assert_eq!(meaning("202 Accepted", &[], " \n").await.unwrap(), Payload::null());
    let no_content = Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let server = Server::start(move |_| no_content.clone()).await;
    assert_eq!(call(&server.url).await.unwrap(), Payload::null());
}

#[tokio::test]
async fn an_output_that_is_not_json_leaves_the_outcome_unknown() {
    for body in ["<html>", "{\"a\":", "1 2", "\u{feff}{}", "{\"a\":\u{1}}"] {
        let transient = unknown(meaning("200 OK", &[], body).await);
        assert_eq!(transient.cause, TransientCause::Error);
        assert!(transient.message.starts_with("processed, but its output is not JSON"), "{body}");
    }
}

#[tokio::test]
async fn conflict_and_unprocessable_are_rejections_with_the_problems_words() {
    let problem = r#"{"type":"about:blank","title":"Conflict","detail":"out of stock"}"#;
    for status in ["409 Conflict", "422 Unprocessable Content"] {
        let told = rejection(meaning(status, &[], problem).await);
        assert_eq!(
            told,
            Rejection { reason: "out of stock".to_owned(), settled: false, uncalled: false }
        );
        let recorded = rejection(meaning(status, &["X-Saga-Barrier: recorded"], problem).await);
        assert_eq!(
            recorded,
            Rejection { reason: "out of stock".to_owned(), settled: true, uncalled: false }
        );
        let other = rejection(meaning(status, &["X-Saga-Barrier: maybe"], problem).await);
        assert!(!other.settled, "only this one word vouches");
    }
    let title_only = rejection(meaning("422 X", &[], r#"{"title":"No card"}"#).await);
    assert_eq!(title_only.reason, "No card");
    let bare = rejection(meaning("409 Conflict", &[], "").await);
    assert_eq!(bare.reason, "answered 409 Conflict");
    let text = rejection(meaning("409 Conflict", &[], "gone").await);
    assert_eq!(text.reason, "answered 409 Conflict: gone");
}

#[tokio::test]
async fn not_yet_honours_retry_after_in_seconds() {
    for status in ["425 Too Early", "429 Too Many Requests", "503 Service Unavailable"] {
        let after = |value: &'static str| async move {
            let transient = unknown(meaning(status, &[value], "").await);
            assert_eq!(transient.cause, TransientCause::NotYet);
            transient.retry_after_ms.unwrap()
        };
        assert_eq!(after("Retry-After: 7").await, 7_000);
        assert_eq!(after("Retry-After: 0").await, 0);
        assert_eq!(after("X: y").await, 1_000);
        assert_eq!(after("Retry-After: Wed, 21 Oct 2037 07:28:00 GMT").await, 1_000);
        assert_eq!(after("Retry-After: -5").await, 1_000);
        assert_eq!(after("Retry-After: 18446744073709551615").await, u64::MAX);
    }
}

#[tokio::test]
async fn every_other_status_is_unknown_with_the_beginning_of_its_body() {
    for status in
        ["500 Internal Server Error", "502 Bad Gateway", "400 Bad Request", "404 Not Found"]
    {
        let transient = unknown(meaning(status, &[], "the disk is full").await);
        assert_eq!(transient.cause, TransientCause::Error);
        assert_eq!(transient.message, format!("answered {status}: the disk is full"));
    }
    let long = "x".repeat(100_000);
    let transient = unknown(meaning("500 Internal Server Error", &[], &long).await);
    assert!(transient.message.len() < 300);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server =
        Server::start(|_| response("307 Temporary Redirect", &["Location: /other"], "")).await;
    let transient = unknown(call(&server.url).await);
    assert!(transient.message.contains("307"), "{}", transient.message);
    assert_eq!(server.request().line, "POST /reserve HTTP/1.1");
}

#[tokio::test]
async fn a_broken_connection_is_unknown_without_naming_the_url() {
    let half = Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":".to_vec());
    let garbage = Reply::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec());
    for reply in [Reply::Close, half, garbage] {
        let server = Server::start(move |_| reply.clone()).await;
        let transient = unknown(call(&server.url).await);
        assert_eq!(transient.cause, TransientCause::Error);
        assert!(!transient.message.contains("127.0.0.1"), "{}", transient.message);
        assert_eq!(server.requests.lock().unwrap().len(), 1, "it is not sent again by itself");
    }
}

#[tokio::test]
async fn a_participant_that_is_not_there_is_unknown() {
    let server = Server::start(|_| Reply::Close).await;
    let port: u16 = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    assert_ne!(port, free);
    let transient = unknown(call(&format!("http://127.0.0.1:{free}")).await);
    assert_eq!(transient.cause, TransientCause::Error);
}

#[tokio::test]
async fn an_endless_answer_is_given_up_at_its_bound() {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n\"".to_vec();
    bytes.resize(2 * 1024 * 1024, b'x');
    let server = Server::start(move |_| Reply::Bytes(bytes.clone())).await;
    let transient = unknown(call(&server.url).await);
    assert_eq!(transient.message, "the answer is longer than 1048576 bytes");
}

#[tokio::test]
async fn cancellation_drops_the_request() {
    let server = Server::start(|_| Reply::Silence).await;
    let cancel = CancellationToken::new();
    let call = tokio::spawn({
        let (url, cancel) = (server.url.clone(), cancel.clone());
        async move { call_with(&url, Op::Action, cancel).await }
    });
    while server.requests.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let transient = unknown(call.await.unwrap());
    assert_eq!(transient.cause, TransientCause::Cancelled);
    server.left.notified().await;
}

#[tokio::test]
async fn an_order_runs_over_http_through_a_timeout_and_a_rejection() {
    // Silent at first, then in order; the pivot refuses.
    let inventory = Server::start(|number| match number {
        0 => Reply::Silence,
        _ => response("200 OK", &[], r#"{"reservation": 5}"#),
    });
    let inventory = inventory.await;
    let payments = Server::start(|_| {
        let problem = r#"{"detail":"declined"}"#;
        response("422 Unprocessable Content", &["X-Saga-Barrier: recorded"], problem)
    });
    let payments = payments.await;
    let stock = HttpParticipant::new("inventory", &inventory.url).unwrap();
    let money = HttpParticipant::new("payments", &payments.url).unwrap();
    let retry = RetryPolicy::new(3, Duration::from_millis(10));
    let reserve = stock.compensatable("reserve", "reserve", "release").unwrap();
    let reserve = reserve.timeout(Duration::from_millis(200)).retry(retry);
    let steps: [Stage; 2] = [reserve.into(), money.pivot("pay", "pay").unwrap().into()];
    let definition = Definition::new("buy", steps).unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let worker = Worker::builder(store).register(definition).start().await.unwrap();
    let begun = Instant::now();
    let started = worker.start("buy", &json!({"order": 1})).await.unwrap();
    assert_eq!(started.verdict().await.unwrap(), Verdict::Compensated);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    inventory.left.notified().await;

    let requests = inventory.requests.lock().unwrap().clone();
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        ["POST /reserve HTTP/1.1", "POST /reserve HTTP/1.1", "POST /release HTTP/1.1"]
    );
    assert_eq!(requests[0].headers["idempotency-key"], requests[1].headers["idempotency-key"]);
    assert_eq!(requests[1].headers["x-saga-attempt"], "2");
    assert_eq!(requests[2].body["outputs"], json!({"reserve": {"reservation": 5}}));
    assert_eq!(payments.request().body["outputs"], json!({"reserve": {"reservation": 5}}));
    // All attempts of a saga belong to one trace, which is found by the saga's id.
    let trace = started.id.to_string().replace('-', "");
    for request in requests {
        assert_eq!(request.headers["traceparent"].split('-').nth(1).unwrap(), trace);
    }
}

#[test]
fn bad_urls_are_refused_with_what_was_given_and_what_was_expected() {
    let refused = |url: &str| HttpParticipant::new("inventory", url).unwrap_err().to_string();
    for url in ["", "inventory", "127.0.0.1:8081", "ftp://127.0.0.1", "http://", "http://[::1"] {
        let text = refused(url);
        assert!(text.contains("inventory") && text.contains(&format!("{url:?}")), "{text}");
        assert!(text.contains("expected a URL such as http://127.0.0.1:8081"), "{text}");
    }
    assert!(refused("http://a/?x=1").contains("has a query"));
    assert!(refused("http://a/#x").contains("fragment"));
}

#[test]
fn paths_that_lead_away_from_the_participant_are_refused() {
    let participant = HttpParticipant::new("inventory", "http://127.0.0.1:8081/v1").unwrap();
    for path in
        ["../admin", "http://evil.example/", "\\\\evil.example/x", "%2e%2e/admin", "https:x"]
    {
        let refused = participant.pivot("pay", path).unwrap_err().to_string();
        assert!(refused.contains("leads away from http://127.0.0.1:8081/v1/"), "{path}: {refused}");
    }
    for path in ["pay", "/pay", "//pay", "pay/now?quick=1"] {
        assert!(participant.pivot("pay", path).is_ok(), "{path}");
    }
}

/// Makes one call that was made to measure.
async fn measured(
    server: &Server,
    change: impl FnOnce(HttpCall) -> HttpCall,
) -> Result<Payload, Failure> {
    let participant = HttpParticipant::new("inventory", &format!("{}/v1", server.url)).unwrap();
    let call = change(participant.call("reserve").unwrap());
    let definition = Definition::new("buy", [participant.pivot_call("reserve", call)]).unwrap();
    let calls = definition.calls(StepIndex(0)).unwrap();
    calls.action.call(context(Op::Action, &CancellationToken::new())).await
}

/// Sends the number of the attempt to another path, with a secret.
struct Elsewhere(&'static str);

impl MapRequest for Elsewhere {
    fn map(&self, context: &StepContext, request: &mut HttpRequest) -> Result<(), Failure> {
        let url: Url = request.url().join(self.0)?;
        request.set_url(url)?;
        request.set_header("authorization".parse()?, "Bearer s3cr3t".parse()?);
        request.set_header("x-saga-id".parse()?, "forged".parse()?);
        request.keep_secret("s3cr3t");
        request.set_body(format!("{{\"attempt\":{}}}", context.attempt).into_bytes());
        Ok(())
    }
}

#[tokio::test]
async fn a_mapping_changes_url_headers_and_body_but_not_the_protocols_headers() {
    let server =
        Server::start(|_| response("200 OK", &[], r#"{"saw":"Bearer s3cr3t, s3cr3t"}"#)).await;
    let change = |call: HttpCall| call.method(Method::PUT).map(Elsewhere("stock/7?now=1"));
    let output = measured(&server, change).await.unwrap();
    assert_eq!(output.as_json(), r#"{"saw":"Bearer ***, ***"}"#, "a secret does not come back");
    let request = server.request();
    assert_eq!(request.line, "PUT /v1/stock/7?now=1 HTTP/1.1");
    assert_eq!(request.body, json!({"attempt": 3}));
    assert_eq!(request.headers["authorization"], "Bearer s3cr3t");
    assert_eq!(request.headers["x-saga-id"], SagaId::new(1, 2, Bucket::of("a", 1)).to_string());
}

#[tokio::test]
async fn a_mapping_that_leads_away_from_the_participant_sends_nothing() {
    let server = Server::start(|_| response("200 OK", &[], "")).await;
    for away in ["../admin", "http://evil.example/", "//evil.example/x", "https:///v1/x"] {
        let told = rejection(measured(&server, |call| call.map(Elsewhere(away))).await);
        assert!(told.reason.contains("leads away"), "{away}: {}", told.reason);
    }
    assert_eq!(server.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_call_may_say_which_statuses_reject_and_how_long_an_answer_may_be() {
    for (status, is_rejected) in [("404 Not Found", true), ("409 Conflict", false)] {
        let server = Server::start(move |_| response(status, &[], "")).await;
        let answer = measured(&server, |call| call.rejected_on([404])).await;
        assert_eq!(matches!(answer, Err(Failure::Rejected(_))), is_rejected, "{status}");
    }
    let server = Server::start(|_| response("200 OK", &[], "\"12345678\"")).await;
    measured(&server, |call| call.answer_bytes_max(10)).await.unwrap();
    let transient = unknown(measured(&server, |call| call.answer_bytes_max(9)).await);
    assert_eq!(transient.message, "the answer is longer than 9 bytes");
}
