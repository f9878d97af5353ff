//! Following a saga live, or all of them.

mod all;

use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use saga_core::Status;
use tokio::time::{Instant, sleep, timeout};

use super::arguments::{Remote, Watch};
use super::{Code, Stop, by_verdict, remote, show, terminal};
use crate::body::{SagaBody, TransitionBody};

/// A stream that is silent for so long, heartbeats included, has broken off.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a daemon that does not answer is asked again.
const OUTAGE_MAX: Duration = Duration::from_secs(60);
/// Pause before a stream that broke off is taken up again.
const PAUSE: Duration = Duration::from_millis(500);

/// Shows the events of a saga until its verdict, or those of all sagas. A stream that breaks off is
/// taken up where it was.
pub(super) async fn watch(watch: &Watch) -> Result<ExitCode, Stop> {
    match &watch.id {
        None => all::watch(watch).await,
        Some(id) => {
            let after = watch.after.as_deref().unwrap_or("0");
            let after = after.parse().map_err(|_| {
                Stop::failed(format!("--after {after:?}: expected a position in the log, from 0"))
            })?;
            watch_one(&watch.remote, id, after).await
        }
    }
}

async fn watch_one(remote: &Remote, id: &str, after: u64) -> Result<ExitCode, Stop> {
    let mut seen = after;
    let mut answered = Instant::now();
    loop {
        match follow(remote, id, &mut seen).await {
            Ok(Followed::Ended) => return verdict(remote, id).await,
            Ok(Followed::BrokeOff) => answered = Instant::now(),
            Err(stop) if stop.code != Code::Unavailable || answered.elapsed() > OUTAGE_MAX => {
                return Err(stop);
            }
            Err(stop) => eprintln!("saga-worker: {}; trying again", terminal::lines(&stop.message)),
        }
        sleep(PAUSE).await;
    }
}

enum Followed {
    /// There is nothing more to come.
    Ended,
    /// There may be.
    BrokeOff,
}

async fn follow(to: &Remote, id: &str, seen: &mut u64) -> Result<Followed, Stop> {
    let request = remote::request(to, Method::GET, &["v1", "sagas", id, "events"])?;
    let mut response = remote::send(request.header("Last-Event-ID", *seen)).await?;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(Followed::Ended);
    }
    let mut unread = Vec::new();
    loop {
        let Ok(Ok(Some(chunk))) = timeout(SILENCE_MAX, response.chunk()).await else {
            return Ok(Followed::BrokeOff);
        };
        unread.extend_from_slice(&chunk);
        // Blocks end with an empty line; cut there, no character is cut in two.
        while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = unread.drain(..end + 2).collect();
            let ended = show_block(to, &String::from_utf8_lossy(&block), seen)?;
            if ended {
                return Ok(Followed::Ended);
            }
        }
    }
}

/// Shows one block of the stream; says whether it was the last.
fn show_block(to: &Remote, block: &str, seen: &mut u64) -> Result<bool, Stop> {
    let data: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    if data.is_empty() {
        return Ok(false);
    }
    let data = data.join("\n");
    let transition: TransitionBody = serde_json::from_str(&data)
        .map_err(|_| Stop::failed(format!("the stream cannot go on: {data}")))?;
    *seen = transition.seq;
    if to.json {
        println!("{data}");
    } else {
        print!("{}", terminal::lines(&show::transition(&transition)));
    }
    Ok(transition.events.iter().any(|event| event.event == "saga_ended"))
}

async fn verdict(to: &Remote, id: &str) -> Result<ExitCode, Stop> {
    let request = remote::request(to, Method::GET, &["v1", "sagas", id])?;
    let text = remote::send(request).await?.text().await;
    let text = text.map_err(|error| remote::unreachable(&error))?;
    let status: Status = serde_json::from_str::<SagaBody>(&text).map_err(Stop::failed)?.status;
    Ok(by_verdict(status))
}
