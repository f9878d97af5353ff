//! Following all sagas.

use std::io::Write as _;
use std::process::ExitCode;

use reqwest::Method;
use tokio::time::{Instant, sleep, timeout};

use super::{OUTAGE_MAX, PAUSE, SILENCE_MAX};
use crate::body::EnvelopeBody;
use crate::cli::arguments::Watch;
use crate::cli::{Code, Stop, remote, show, terminal};
use crate::problem::ProblemBody;

/// Shows what happens to all sagas until it is ended. A stream that breaks off is taken up where it
/// was, without gap or repetition.
pub(super) async fn watch(watch: &Watch) -> Result<ExitCode, Stop> {
    let mut cursor = None;
    let mut answered = Instant::now();
    loop {
        match follow(watch, &mut cursor).await {
            Ok(()) => answered = Instant::now(),
            Err(stop) if stop.code != Code::Unavailable || answered.elapsed() > OUTAGE_MAX => {
                return Err(stop);
            }
            Err(stop) => eprintln!("saga-worker: {}; trying again", terminal::lines(&stop.message)),
        }
        sleep(PAUSE).await;
    }
}

/// Follows until the stream breaks off.
async fn follow(watch: &Watch, cursor: &mut Option<String>) -> Result<(), Stop> {
    let verdicts = watch.verdicts.then(|| "true".to_owned());
    let filters = [
        ("after", &watch.after),
        ("name", &watch.name),
        ("key", &watch.key),
        ("status", &watch.status),
        ("event", &watch.event),
        ("verdicts", &verdicts),
    ];
    let filters: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    let mut request =
        remote::request(&watch.remote, Method::GET, &["v1", "events"])?.query(&filters);
    if let Some(cursor) = &*cursor {
        request = request.header("Last-Event-ID", cursor);
    }
    let mut response = remote::send(request).await?;
    let mut unread = Vec::new();
    loop {
        let Ok(Ok(Some(chunk))) = timeout(SILENCE_MAX, response.chunk()).await else {
            return Ok(());
        };
        unread.extend_from_slice(&chunk);
        while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = unread.drain(..end + 2).collect();
            show_block(watch, &String::from_utf8_lossy(&block), cursor)?;
        }
    }
}

/// The end of whoever reads this, such as `head`, is the end of this too.
fn write(text: &str) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Stop::failed(format!("nobody takes what is shown: {error}")))
}

fn show_block(watch: &Watch, block: &str, cursor: &mut Option<String>) -> Result<(), Stop> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let (event, data) = (field("event: ").unwrap_or_default(), field("data: ").unwrap_or_default());
    match event {
        "transition" if watch.remote.json => write(&format!("{data}\n"))?,
        "transition" => {
            let envelope: EnvelopeBody = serde_json::from_str(data).map_err(|error| {
                Stop::failed(format!("the daemon answered in an unknown form: {error}"))
            })?;
            write(&terminal::lines(&show::envelope(&envelope)))?;
        }
        "problem" | "reset" => {
            let problem: ProblemBody = serde_json::from_str(data).map_err(Stop::failed)?;
            return Err(Stop::failed(format!("{}: {}", problem.title, problem.detail)));
        }
        // Beginnings and signs of life.
        _ => {}
    }
    if let Some(id) = field("id: ") {
        *cursor = Some(id.to_owned());
    }
    Ok(())
}
