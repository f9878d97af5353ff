//! The feed over WebSocket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use saga_daemon::Limits;
use saga_daemon::access::{ApiKey, ApiKeys, Role};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{PATIENCE, World, memory};

/// One connection.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Connects; a refusal is told by its status and the end of the problem's type.
async fn connect(
    world: &World,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<Socket, (u16, String)> {
    let url = format!("{}/v1/ws{query}", world.api.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => {
            let mut socket = Socket(socket);
            assert_eq!(socket.json().await["type"], "ready");
            Ok(socket)
        }
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            let kind = problem["type"].as_str().unwrap_or_default().rsplit('/').next();
            Err((response.status().as_u16(), kind.unwrap_or_default().to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

impl Socket {
    async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    async fn json(&mut self) -> Value {
        self.next().await.expect("the connection stands")
    }

    /// The next message of this type; heartbeats are passed over.
    async fn of_type(&mut self, kind: &str) -> Value {
        loop {
            let value = self.json().await;
            if value["type"] == kind {
                return value;
            }
            assert_eq!(value["type"], "heartbeat", "{value}");
        }
    }

    async fn say(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).await.unwrap();
    }

    async fn end(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Ok(_) => {}
                Err(frame) => {
                    let frame = frame.expect("it says why it ends");
                    return (frame.code.into(), frame.reason.to_string());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_socket_carries_the_same_envelopes_and_goes_on_from_their_cursors() {
    let world = World::new().await;
    let mut socket = connect(&world, "", &[]).await.unwrap();
    let id = world.start(1, "visa").await;
    let mut all = Vec::new();
    loop {
        let envelope = socket.of_type("transition").await;
        let ended = envelope["status"] == "completed";
        all.push(envelope);
        if ended {
            break;
        }
    }
    assert!(all.iter().all(|envelope| envelope["saga_id"] == id.as_str()));
    let seqs: Vec<_> = all.iter().map(|envelope| envelope["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let cursor = all[1]["cursor"].as_str().unwrap();
    let mut again = connect(&world, &format!("?after={cursor}"), &[]).await.unwrap();
    assert_eq!(again.of_type("transition").await, all[2]);
}

#[tokio::test]
async fn a_client_changes_its_filter_and_place_on_the_way() {
    let world = World::new().await;
    let mut socket = connect(&world, "?key=nobody", &[]).await.unwrap();
    let id = world.start(1, "visa").await;
    world.until(&id, "completed").await;
    socket.say(json!({ "type": "unsubscribe" }).to_string()).await;
    let verdicts = json!({ "type": "subscribe", "after": "beginning", "verdicts": true });
    socket.say(verdicts.to_string()).await;
    socket.of_type("ready").await;
    let verdict = socket.of_type("transition").await;
    assert_eq!((&verdict["saga_id"], &verdict["status"]), (&id.into(), &"completed".into()));
    // Without a place it goes on from where it stands.
    socket.say(json!({ "type": "subscribe", "event": "saga_started" }).to_string()).await;
    socket.of_type("ready").await;
    let next = world.start(2, "visa").await;
    let started = socket.of_type("transition").await;
    assert_eq!((&started["saga_id"], &started["seq"]), (&next.into(), &1.into()));
}

#[tokio::test]
async fn anything_else_a_client_says_ends_the_connection_with_a_reason() {
    let world = World::new().await;
    for (said, code, reason) in [
        (Message::text("hello"), 1008, "subscribe"),
        (Message::text("{\"type\":\"stop\",\"saga\":1}"), 1008, "stop"),
        (Message::text("{\"type\":\"subscribe\",\"colour\":\"red\"}"), 1008, "colour"),
        (Message::text("{\"type\":\"subscribe\",\"status\":\"asleep\"}"), 1008, "status"),
        (Message::text("{\"type\":\"subscribe\",\"after\":\"x\"}"), 1008, "after"),
        (Message::binary(vec![0, 1]), 1003, "binary"),
        (Message::text("x".repeat(9_000)), 1008, "too long"),
    ] {
        let mut socket = connect(&world, "", &[]).await.unwrap();
        socket.say(said).await;
        let (ended, why) = socket.end().await;
        assert!(ended == code && why.to_lowercase().contains(reason), "{ended} {why}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_open_a_socket() {
    let origins = ["https://shop.example".to_owned()];
    let world = World::with(memory(), |builder| builder.origins(origins)).await;
    for foreign in ["https://evil.example", "null", "http://127.0.0.1"] {
        let refused = connect(&world, "", &[("origin", foreign)]).await;
        assert_eq!(refused.err(), Some((403, "foreign-origin".to_owned())), "{foreign}");
    }
    for known in [world.api.url.as_str(), "https://shop.example"] {
        assert!(connect(&world, "", &[("origin", known)]).await.is_ok(), "{known}");
    }
}

#[tokio::test]
async fn a_socket_takes_a_key_or_a_ticket_and_ends_when_the_key_is_revoked() {
    let (key, text) = ApiKey::create("shop", Role::Viewer).unwrap();
    let keys = ApiKeys::new([key]).unwrap();
    let limits = Limits { heartbeat: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let bearer = format!("Bearer {text}");
    let nobody = connect(&world, "", &[]).await;
    assert_eq!(nobody.err(), Some((401, "unauthenticated".to_owned())));
    let given = world.api.with_key(&text).post("/v1/tickets", &json!({})).await;
    let query = format!("?ticket={}", given.text("/ticket"));
    let mut by_ticket = connect(&world, &query, &[]).await.unwrap();
    assert_eq!(connect(&world, &query, &[]).await.err().map(|(status, _)| status), Some(401));
    let mut by_key = connect(&world, "", &[("authorization", &bearer)]).await.unwrap();
    let (other, _) = ApiKey::create("shop", Role::Viewer).unwrap();
    world.handle.replace_keys(ApiKeys::new([other]).unwrap()).unwrap();
    for socket in [&mut by_ticket, &mut by_key] {
        let (code, reason) = socket.end().await;
        assert!(code == 1008 && reason.contains("key"), "{code} {reason}");
    }
}

#[tokio::test]
async fn messages_over_a_socket_count_against_the_rate_of_its_key() {
    let (key, text) = ApiKey::create("shop", Role::Viewer).unwrap();
    let limits = Limits { requests_per_key_max: 1, ..Limits::default() };
    let keys = ApiKeys::new([key]).unwrap();
    let world = World::with(memory(), |builder| builder.keys(keys).limits(limits)).await;
    let bearer = format!("Bearer {text}");
    let mut socket = connect(&world, "", &[("authorization", &bearer)]).await.unwrap();
    for _ in 0..20 {
        // What comes after the end is not taken any more.
        let _ = socket.0.send(json!({ "type": "unsubscribe" }).to_string().into()).await;
    }
    let (code, reason) = socket.end().await;
    assert!(code == 1008 && reason.contains("1 requests a second"), "{code} {reason}");
}

#[tokio::test]
async fn a_drain_says_so_to_every_socket() {
    let world = World::new().await;
    let mut socket = connect(&world, "", &[]).await.unwrap();
    let ending = tokio::spawn(async move { socket.end().await });
    let report = world.stop().await;
    assert!(!report.gave_up);
    assert_eq!(ending.await.unwrap().0, 1001);
}

#[tokio::test]
async fn a_plain_request_is_told_what_this_address_is() {
    let world = World::new().await;
    let plain = world.api.get("/v1/ws").await;
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED.as_u16());
    assert_eq!(
        (plain.problem().as_str(), plain.header("upgrade")),
        ("upgrade-required", "websocket".to_owned())
    );
}
