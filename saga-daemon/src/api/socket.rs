//! The same over WebSocket, for clients that change their filter on the way.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use saga_core::store::FeedError;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::access::Principal;
use crate::body::BeatBody;
use crate::feed::{self, Next, Place, Pulse, Subscriber, Words, origin};
use crate::problem::{Kind, Problem};
use crate::request::Call;
use crate::service::App;

/// Largest message of a client, in bytes: a filter.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Memory for what a client sends, in bytes.
const READ_BYTES: usize = 4 * 1024;
/// Longest reason of an end, in bytes, as the protocol has it.
const REASON_BYTES_MAX: usize = 123;
/// The end of a stream whose cursor is of no use: a number that applications may choose.
const CURSOR_GONE: u16 = 4410;

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    /// From now on by this filter; from where it stands, unless `after` says otherwise.
    Subscribe(Words),
    /// Nothing for the time being.
    Unsubscribe,
}

/// That a stream has to be begun anew.
#[derive(Serialize)]
struct Reset<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    problem: &'a crate::problem::ProblemBody,
}

/// How a connection ends.
struct End {
    code: u16,
    reason: String,
}

impl End {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The other end is gone, or takes nothing.
    fn silent() -> Self {
        Self::new(close_code::ABNORMAL, "")
    }
}

/// One connection.
struct Connection {
    app: App,
    socket: WebSocket,
    principal: Principal,
    subscriber: Option<Subscriber>,
    pulse: Pulse,
    heard_at: Instant,
    _place: Place,
}

pub(crate) async fn open(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    call: Call,
) -> Result<Response, Problem> {
    origin::check(&app, &call)?;
    let words = Words::of(&call)?;
    let (filter, from) = (words.filter()?, words.from()?);
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("{rejection}: open this address as a WebSocket, or read /v1/events");
        Problem::new(Kind::NotWebSocket, detail)
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
    })?;
    let place = app.places().take(&call.principal, app.limits())?;
    let pulse = Pulse::new(&app, app.hold(&call.principal));
    let principal = call.principal.clone();
    let subscriber = feed::subscribe(&app, filter, from).await?;
    let upgrade = upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX);
    let unfinished = app.tasks().token();
    Ok(upgrade.on_upgrade(async move |socket| {
        let _unfinished = unfinished;
        let (subscriber, heard_at) = (Some(subscriber), Instant::now());
        let mut connection =
            Connection { app, socket, principal, subscriber, pulse, heard_at, _place: place };
        let end = connection.run().await;
        connection.close(end).await;
    }))
}

impl Connection {
    async fn run(&mut self) -> End {
        let closing = self.app.closing().clone();
        if let Err(end) = self.beat("ready").await {
            return end;
        }
        loop {
            if self.pulse.is_revoked(&self.app) {
                return End::new(close_code::POLICY, "the API key is not valid any more");
            }
            let until = self.pulse.until();
            let step = tokio::select! {
                biased;
                () = closing.cancelled() => Err(End::new(close_code::AWAY, "the daemon drains")),
                said = self.socket.recv() => self.heard(said).await,
                next = next(&mut self.subscriber, until) => self.tell(next).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn heard(&mut self, said: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard_at = Instant::now();
        match said {
            Some(Ok(Message::Text(text))) => match self.read(&text)? {
                Said::Subscribe(words) => self.subscribe(&words).await,
                Said::Unsubscribe => {
                    self.subscriber = None;
                    Ok(())
                }
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Binary(_))) => {
                Err(End::new(close_code::UNSUPPORTED, "binary messages mean nothing here"))
            }
            Some(Ok(Message::Close(_))) | None => Err(End::silent()),
            Some(Err(error)) => Err(End::new(close_code::POLICY, error.to_string())),
        }
    }

    /// What a message says. It costs the key as much as a request.
    fn read(&self, text: &str) -> Result<Said, End> {
        let refused = |problem: Problem| End::new(close_code::POLICY, &*problem.body().detail);
        self.app.count_request(&self.principal).map_err(refused)?;
        serde_json::from_str(text).map_err(|error| {
            let unknown = "expected {\"type\":\"subscribe\",...} or {\"type\":\"unsubscribe\"}";
            End::new(close_code::POLICY, format!("{unknown}: {error}"))
        })
    }

    async fn subscribe(&mut self, words: &Words) -> Result<(), End> {
        let refused = |problem: Problem| {
            let code = match problem.kind() {
                Kind::CursorGone => CURSOR_GONE,
                Kind::StoreUnavailable => close_code::AGAIN,
                _ => close_code::POLICY,
            };
            End::new(code, problem.body().detail.clone())
        };
        let filter = words.filter().map_err(refused)?;
        match (&mut self.subscriber, &words.after) {
            (Some(subscriber), None) => subscriber.refilter(filter),
            _ => {
                let from = words.from().map_err(refused)?;
                let subscriber = feed::subscribe(&self.app, filter, from).await;
                self.subscriber = Some(subscriber.map_err(refused)?);
            }
        }
        self.beat("ready").await
    }

    async fn tell(&mut self, next: Result<Next, FeedError>) -> Result<(), End> {
        match next {
            Ok(Next::Frame(frame)) => {
                self.pulse.sent();
                let json = Utf8Bytes::try_from(frame.json());
                self.send(Message::Text(json.map_err(|_| End::silent())?)).await
            }
            Ok(Next::Quiet) if self.pulse.is_silent() => self.beat("heartbeat").await,
            Ok(Next::Quiet) => Ok(()),
            Err(error) => {
                let gone = matches!(error, FeedError::Forgotten | FeedError::Foreign);
                let problem = feed::problem(error);
                if !gone {
                    return Err(End::new(close_code::ERROR, problem.body().detail.clone()));
                }
                self.send(text(&Reset { kind: "reset", problem: problem.body() })).await?;
                Err(End::new(CURSOR_GONE, "take a new snapshot, then go on from now"))
            }
        }
    }

    /// Shows that the connection is alive, and asks the other end for the same.
    async fn beat(&mut self, kind: &str) -> Result<(), End> {
        let silence_max = self.app.limits().heartbeat * 3;
        if self.heard_at.elapsed() > silence_max {
            return Err(End::new(close_code::POLICY, "no answer to pings"));
        }
        self.pulse.sent();
        if let Some(subscriber) = &self.subscriber {
            let beat = BeatBody::new(kind, &subscriber.cursor(), self.app.feed().lag());
            self.send(text(&beat)).await?;
        }
        self.send(Message::Ping(axum::body::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let within = self.app.limits().write_within;
        match timeout(within, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::silent()),
        }
    }

    /// Says why, if the other end still listens; it gets a moment to take it.
    async fn close(mut self, end: End) {
        if end.code == close_code::ABNORMAL {
            return;
        }
        let mut reason = end.reason;
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        let frame = CloseFrame { code: end.code, reason: reason.into() };
        let farewell = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.recv().await {}
            }
        };
        drop(timeout(Duration::from_secs(2), farewell).await);
    }
}

/// What comes next; without a subscription that is nothing until it is time to look again.
async fn next(subscriber: &mut Option<Subscriber>, until: Instant) -> Result<Next, FeedError> {
    match subscriber {
        Some(subscriber) => subscriber.next(until).await,
        None => {
            tokio::time::sleep_until(until).await;
            Ok(Next::Quiet)
        }
    }
}

fn text(value: &impl Serialize) -> Message {
    let json = serde_json::to_string(value).expect("bodies hold only text, numbers and JSON");
    Message::Text(json.into())
}
