//! Asking a daemon.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use reqwest::{Certificate, Identity, Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::{Assumed, DEFAULT_URL, Give, List, Remote, Start};
use super::{Code, Stop, by_verdict, show, terminal};
use crate::body::{
    BreakersBody, CommandBody, CommandResultBody, ListBody, LogBody, SagaBody, WorkersBody,
};
use crate::problem::ProblemBody;
use crate::request::parse_duration;

/// Longer than any wait that the API allows.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// How long a question after its health may take.
const HEALTH_WITHIN: Duration = Duration::from_secs(5);

/// A request to a daemon, below its address.
pub(super) fn request(
    remote: &Remote,
    method: Method,
    path: &[&str],
) -> Result<RequestBuilder, Stop> {
    // Only the first installation in a process counts.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let no_url = |why: &str| {
        Stop::failed(format!(
            "--url {:?} {why}: expected one such as http://127.0.0.1:7878",
            remote.url
        ))
    };
    let mut url =
        Url::parse(&remote.url).map_err(|error| no_url(&format!("is no URL ({error})")))?;
    url.path_segments_mut().map_err(|()| no_url("has no path"))?.pop_if_empty().extend(path);
    let request = client(remote)?.request(method, url);
    Ok(match &remote.api_key {
        Some(key) => request.bearer_auth(key),
        None => request,
    })
}

fn client(remote: &Remote) -> Result<reqwest::Client, Stop> {
    let mut client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    client = client.connect_timeout(Duration::from_secs(5));
    let read = |flag: &str, path: &Path| {
        std::fs::read(path).map_err(|error| {
            Stop::failed(format!("{flag} {} cannot be read: {error}", path.display()))
        })
    };
    if let Some(path) = &remote.ca {
        let roots = Certificate::from_pem_bundle(&read("--ca", path)?).unwrap_or_default();
        if roots.is_empty() {
            let path = path.display();
            let expected = "expected those of authorities, such as `-----BEGIN CERTIFICATE-----`";
            return Err(Stop::failed(format!(
                "--ca {path} holds no certificate in PEM: {expected}"
            )));
        }
        client = client.tls_certs_only(roots);
    }
    if let Some(path) = &remote.client_cert {
        let identity = Identity::from_pem(&read("--client-cert", path)?).map_err(|_| {
            let path = path.display();
            Stop::failed(format!(
                "--client-cert {path} is none: expected a certificate and its private key in PEM, one after the other"
            ))
        })?;
        client = client.identity(identity);
    }
    client.build().map_err(Stop::failed)
}

/// Whether a daemon is alive, or takes requests.
pub(super) async fn health(remote: &Remote, ready: bool) -> Result<ExitCode, Stop> {
    let path = if ready { "readyz" } else { "healthz" };
    let request = request(remote, Method::GET, &[path])?.timeout(HEALTH_WITHIN);
    let said = send(request).await?.text().await.map_err(|error| unreachable(&error))?;
    println!("{}", said.trim());
    Ok(ExitCode::SUCCESS)
}

/// Sends a request; a problem becomes the reason why the command failed.
pub(super) async fn send(request: RequestBuilder) -> Result<reqwest::Response, Stop> {
    let response = request.send().await.map_err(|error| unreachable(&error))?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let text = response.text().await.map_err(|error| unreachable(&error))?;
    let said = match serde_json::from_str::<ProblemBody>(&text) {
        Ok(problem) => format!("{}: {}", problem.title, problem.detail),
        Err(_) => format!("the daemon answered {status}"),
    };
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Failed,
    };
    Err(Stop { code, message: said })
}

pub(super) fn unreachable(error: &reqwest::Error) -> Stop {
    let url = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    let cause = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source()).last();
    let cause = cause.map(ToString::to_string).unwrap_or_default();
    let advice = match cause.to_lowercase() {
        text if text.contains("certificate") => {
            "name the authority that signed its certificate with --ca, and ask by the name in it (--url)"
        }
        text if url.starts_with("https") && text.contains("corrupt message") => {
            "it may speak plain http (--url)"
        }
        _ => "is the daemon running there? (--url)",
    };
    Stop::unavailable(format!("no answer from {url}: {cause}; {advice}"))
}

pub(super) async fn body<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Stop> {
    let text = send(request.timeout(ANSWER_WITHIN)).await?.text().await;
    let text = text.map_err(|error| unreachable(&error))?;
    serde_json::from_str(&text)
        .map_err(|error| Stop::failed(format!("the daemon answered in an unknown form: {error}")))
}

pub(super) async fn start(start: &Start) -> Result<ExitCode, Stop> {
    let input = read_input(&start.input)?;
    let mut request = request(&start.remote, Method::POST, &["v1", "sagas", &start.name])?;
    if let Some(key) = &start.key {
        request = request.header("Idempotency-Key", key);
    }
    if let Some(id) = &start.id {
        request = request.header("X-Saga-ID", id);
    }
    if let Some(version) = start.version {
        request = request.header("X-Saga-Version", version);
    }
    if let Some(wait) = &start.wait {
        request = request.query(&[("wait", wait)]);
    }
    let request = request.header("Content-Type", "application/json").body(input);
    saga(&start.remote, body(request).await?, start.wait.is_some())
}

fn read_input(input: &str) -> Result<String, Stop> {
    let read =
        |error: std::io::Error| Stop::failed(format!("cannot read the input {input}: {error}"));
    match (input, input.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(read)?;
            Ok(text)
        }
        (_, Some(path)) => std::fs::read_to_string(path).map_err(read),
        _ => Ok(input.to_owned()),
    }
}

pub(super) async fn get(remote: &Remote, id: &str, wait: Option<&str>) -> Result<ExitCode, Stop> {
    let mut request = request(remote, Method::GET, &["v1", "sagas", id])?;
    if let Some(wait) = wait {
        request = request.query(&[("wait", wait)]);
    }
    saga(remote, body(request).await?, wait.is_some())
}

fn saga(remote: &Remote, view: SagaBody, waited: bool) -> Result<ExitCode, Stop> {
    print(remote, &view, |view| show::saga(view, &flags(remote)))?;
    Ok(if waited { by_verdict(view.status) } else { ExitCode::SUCCESS })
}

pub(super) async fn list(list: &List) -> Result<ExitCode, Stop> {
    let limit = list.limit.map(|limit| limit.to_string());
    let of = &list.filter;
    let status = (!of.status.is_empty()).then(|| of.status.join(","));
    let version = of.version.map(|version| version.to_string());
    let (since, until) = (ago("--since", &of.since)?, ago("--until", &of.until)?);
    let filters = [
        ("status", &status),
        ("name", &of.name),
        ("version", &version),
        ("step", &of.step),
        ("key", &list.key),
        ("key_prefix", &of.key_prefix),
        ("text", &of.text),
        ("started_after", &since),
        ("started_before", &until),
        ("before", &list.before),
        ("limit", &limit),
    ];
    let filters: Vec<_> =
        filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    let request = request(&list.remote, Method::GET, &["v1", "sagas"])?.query(&filters);
    print(&list.remote, &body::<ListBody>(request).await?, show::list)?;
    Ok(ExitCode::SUCCESS)
}

/// The time that was a duration ago, in microseconds.
pub(super) fn ago(flag: &str, text: &Option<String>) -> Result<Option<String>, Stop> {
    let Some(text) = text else { return Ok(None) };
    let ago = parse_duration(text).and_then(|ago| SystemTime::now().checked_sub(ago));
    let since = ago.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let usage =
        || Stop::failed(format!("{flag} is {text:?}: expected a duration such as 15m or 2h"));
    Ok(Some(since.ok_or_else(usage)?.as_micros().to_string()))
}

pub(super) async fn workers(remote: &Remote) -> Result<ExitCode, Stop> {
    let request = request(remote, Method::GET, &["v1", "workers"])?;
    print(remote, &body::<WorkersBody>(request).await?, show::workers)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn breakers(remote: &Remote) -> Result<ExitCode, Stop> {
    let request = request(remote, Method::GET, &["v1", "breakers"])?;
    print(remote, &body::<BreakersBody>(request).await?, show::breakers)?;
    Ok(ExitCode::SUCCESS)
}

/// The flags that a command to be copied needs to find the same daemon; keys are not shown.
fn flags(remote: &Remote) -> String {
    let known = std::env::var("SAGA_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned());
    if remote.url == known { String::new() } else { format!(" --url {}", remote.url) }
}

pub(super) async fn log(
    remote: &Remote,
    id: &str,
    after: u64,
    limit: u32,
) -> Result<ExitCode, Stop> {
    let page = [("after", after.to_string()), ("limit", limit.to_string())];
    let request = request(remote, Method::GET, &["v1", "sagas", id, "log"])?.query(&page);
    print(remote, &body::<LogBody>(request).await?, show::log)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn command(verb: &str, give: &Give) -> Result<ExitCode, Stop> {
    send_command(verb, give, CommandBody::default()).await
}

pub(super) async fn skip(give: &Give, step: &str, assumed: &Assumed) -> Result<ExitCode, Stop> {
    let word = [
        (assumed.no_effect, "no_effect"),
        (assumed.compensated, "compensated"),
        (assumed.effect_remains, "effect_remains"),
    ];
    let word = word.into_iter().find_map(|(said, word)| said.then_some(word));
    let assume = match (&assumed.processed, word) {
        (Some(output), _) => {
            let output: Value = serde_json::from_str(output).map_err(|error| {
                Stop::failed(format!("--processed {output:?} is not JSON: {error}"))
            })?;
            json!({ "processed": output })
        }
        (None, word) => json!(word),
    };
    let body =
        CommandBody { step: Some(step.to_owned()), assume: Some(assume), ..CommandBody::default() };
    send_command("skip", give, body).await
}

async fn send_command(verb: &str, give: &Give, rest: CommandBody) -> Result<ExitCode, Stop> {
    let said = CommandBody { reason: give.reason.clone(), actor: give.actor.clone(), ..rest };
    let mut request =
        request(&give.remote, Method::POST, &["v1", "sagas", &give.id, verb])?.json(&said);
    if let Some(request_id) = &give.request_id {
        request = request.header("Idempotency-Key", request_id);
    }
    if let Some(seq) = give.if_seq {
        request = request.header("If-Match", format!("\"{seq}\""));
    }
    let result: CommandResultBody = body(request).await?;
    print(&give.remote, &result, |result| show::command(result, &flags(&give.remote)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print<T: Serialize>(
    remote: &Remote,
    body: &T,
    words: impl Fn(&T) -> String,
) -> Result<(), Stop> {
    if remote.json {
        println!("{}", serde_json::to_string_pretty(body).map_err(Stop::failed)?);
    } else {
        print!("{}", terminal::lines(&words(body)));
    }
    Ok(())
}
