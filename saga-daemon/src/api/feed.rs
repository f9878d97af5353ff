//! The transitions of all sagas as server-sent events.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use saga_core::store::FeedError;

use crate::body::BeatBody;
use crate::feed::{self, From, Next, Place, Pulse, Subscriber, Words, origin};
use crate::problem::{Kind, Problem};
use crate::request::Call;
use crate::service::App;

/// What one stream goes by.
struct Stream {
    app: App,
    subscriber: Subscriber,
    pulse: Pulse,
    /// What comes before the first transition.
    opening: Option<Bytes>,
    ended: bool,
    _place: Place,
}

pub(crate) async fn stream(State(app): State<App>, call: Call) -> Result<Response, Problem> {
    origin::check(&app, &call)?;
    let words = Words::of(&call)?;
    let (filter, from) = (words.filter()?, position(&call, &words)?);
    let place = app.places().take(&call.principal, app.limits())?;
    let pulse = Pulse::new(&app, app.hold(&call.principal));
    let subscriber = feed::subscribe(&app, filter, from).await?;
    let opening = format!("retry: 1000\n{}", text(&beat(&app, &subscriber, "ready")));
    let closing = app.closing().clone().cancelled_owned();
    let opening = Some(opening.into());
    let stream = Stream { app, subscriber, pulse, opening, ended: false, _place: place };
    let pieces = stream::unfold(stream, |mut stream| async move {
        let piece = stream.next().await?;
        Some((Ok::<_, Infallible>(piece), stream))
    });
    let body = Body::from_stream(pieces.take_until(closing));
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, body).into_response())
}

/// Where a reader wants to begin: a reconnecting one knows better than the address it was given.
fn position(call: &Call, words: &Words) -> Result<From, Problem> {
    match call.header("Last-Event-ID")?.filter(|text| !text.is_empty()) {
        Some(text) => From::parse("Last-Event-ID", text),
        None => words.from(),
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        while !self.ended {
            if self.pulse.is_revoked(&self.app) {
                let why = "the API key of this stream is not valid any more";
                return Some(self.end("problem", &Problem::new(Kind::Unauthenticated, why)));
            }
            match self.subscriber.next(self.pulse.until()).await {
                Ok(Next::Frame(frame)) => {
                    self.pulse.sent();
                    return Some(frame.sse());
                }
                Ok(Next::Quiet) if self.pulse.is_silent() => {
                    self.pulse.sent();
                    return Some(beat(&self.app, &self.subscriber, "heartbeat"));
                }
                Ok(Next::Quiet) => {}
                Err(error @ (FeedError::Forgotten | FeedError::Foreign)) => {
                    return Some(self.end("reset", &feed::problem(error)));
                }
                Err(error) => return Some(self.end("problem", &feed::problem(error))),
            }
        }
        None
    }

    fn end(&mut self, event: &str, problem: &Problem) -> Bytes {
        self.ended = true;
        feed::sse(event, None, problem.body()).0
    }
}

/// That the stream is alive, and up to where it has seen everything.
fn beat(app: &App, subscriber: &Subscriber, kind: &str) -> Bytes {
    let cursor = subscriber.cursor();
    feed::sse(kind, Some(&cursor), &BeatBody::new(kind, &cursor, app.feed().lag())).0
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
