//! Canary secrets in every input of a real daemon: none of them may come out again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;

use crate::process::{BINARY, Served, folder, program, stderr, stdout};
use crate::support::{Api, PATIENCE};

/// Secrets that nobody but their holder may see, and where each goes in.
const TOKEN: &str = "canary-token-5e1f";
const BEARER: &str = "canary-bearer-77aa";
const COOKIE: &str = "canary-cookie-09b2";
/// What a `skip` assumes: in the command to the saga, and not in the audit trail.
const OUTPUT: &str = "canary-output-41d8";
const HOOK_SECRET: &str = "canary-hook-secret-11aa";
const HOOK_PATH: &str = "canary-hook-path-8e8e";
const COLLECTOR: &str = "canary-collector-42c0";
const PASSWORD: &str = "canary-password-c3d4";

/// Every file below a folder, as text.
fn contents(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            contents(&path, found);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path, text));
        }
    }
}

/// A participant that repeats what it was sent in its answer.
fn gossip() -> (tokio::runtime::Runtime, String) {
    let answer = |headers: axum::http::HeaderMap| async move {
        let shown = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        axum::Json(serde_json::json!({ "you_sent": shown }))
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    runtime.spawn(async move { axum::serve(listener, router).await });
    (runtime, url)
}

/// Settings with secrets of their own: two webhooks, one of which leads nowhere, and a collector that
/// does not answer.
fn settings(at: &Path, participant: &str) -> PathBuf {
    let path = at.join("settings").join("saga.toml");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let hook = |name: &str, url: &str| {
        format!(
            "[webhooks.{name}]\nurl = '{url}/{HOOK_PATH}?token={HOOK_PATH}'\nsecrets = ['secret://SHOP_HOOK']\n"
        )
    };
    let collector = format!(
        "allow_hosts = ['127.0.0.1']\n[otlp]\nendpoint = 'http://127.0.0.1:9'\ninterval = '1s'\nheaders = 'authorization=Bearer%20{COLLECTOR}'\n"
    );
    let text = collector + &hook("shop", participant) + &hook("dead", "http://127.0.0.1:9");
    fs::write(&path, text).unwrap();
    path
}

/// A daemon that logs all there is, with a definition that sends a secret.
fn serve(at: &Path, participant: &str, keys: &Path) -> Served {
    let definitions = at.join("definitions");
    fs::create_dir(&definitions).unwrap();
    let yaml = format!(
        "name: pay\nallow_hosts: [127.0.0.1]\nparticipants:\n  bank:\n    url: {participant}\n    headers: {{ Authorization: Bearer secret://BANK_TOKEN }}\nsteps:\n  - {{ name: capture, participant: bank, pivot: capture }}\n"
    );
    fs::write(definitions.join("pay.yaml"), yaml).unwrap();
    let mut command = program(Path::new(BINARY));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--log-filter", "trace"])
        .args(["--definitions", definitions.to_str().unwrap()])
        .args(["--keys-file", keys.to_str().unwrap()])
        .env("STATE_DIRECTORY", at.join("data"))
        .arg("--config")
        .arg(settings(at, participant))
        .env("SAGA_SECRET_SHOP_HOOK", HOOK_SECRET)
        .env("SAGA_SECRET_BANK_TOKEN", TOKEN);
    Served::spawn(command, at)
}

/// Everything that the API says of a saga and of itself, to somebody who shows more than he should.
async fn ask(url: &str, key: &str) -> String {
    let api = Api::at(url.to_owned()).await.with_key(key);
    let start = api.request(Method::POST, "/v1/sagas/pay?wait=30s").json(&serde_json::json!({}));
    let start = start.header("Cookie", format!("session={COOKIE}"));
    let started = api.send(start).await;
    assert_eq!(started.status, 201, "{}", started.raw);
    let id = started.text("/id");
    let mut said = started.raw;
    let stop = api.request(Method::POST, &format!("/v1/sagas/{id}/skip"));
    let assumed = serde_json::json!({ "processed": OUTPUT });
    let stop =
        stop.json(&serde_json::json!({ "reason": "x", "step": "capture", "assume": assumed }));
    let refused = api.send(stop.header("Cookie", format!("session={COOKIE}"))).await;
    assert_eq!(refused.status, 409, "{}", refused.raw);
    let trail = api.get("/v1/audit").await.raw;
    assert!(trail.contains("saga.skip") && !trail.contains(OUTPUT), "{trail}");
    said.push_str(&trail);
    let told = async {
        loop {
            let hooks = api.get("/v1/webhooks").await;
            let of = |name: &str| {
                let all = hooks.body["webhooks"].as_array().unwrap();
                all.iter().find(|hook| hook["name"] == name).unwrap().clone()
            };
            if of("shop")["delivered"] == 1 && of("dead")["last_error"].is_string() {
                return hooks.raw;
            }
        }
    };
    said.push_str(&tokio::time::timeout(PATIENCE, told).await.expect("both webhooks were tried"));
    let stranger = api.with_key(BEARER).get("/v1/sagas").await;
    assert_eq!(stranger.status, 401);
    said.push_str(&stranger.raw);
    for path in [
        format!("/v1/sagas/{id}"),
        format!("/v1/sagas/{id}/log"),
        "/v1/sagas".to_owned(),
        "/v1/definitions".to_owned(),
        "/v1/workers".to_owned(),
        "/v1/breakers".to_owned(),
        "/metrics".to_owned(),
        "/openapi.json".to_owned(),
    ] {
        said.push_str(&api.get(&path).await.raw);
    }
    said
}

#[test]
fn no_secret_that_goes_in_comes_out_in_logs_tables_or_answers() {
    let folder = folder();
    let made = program(Path::new(BINARY)).args(["keys", "new", "ops", "--role", "admin"]).output();
    let made = made.unwrap();
    let (key, keys) = (stdout(&made).trim().to_owned(), folder.path().join("keys.toml"));
    fs::write(&keys, stderr(&made)).unwrap();
    let (_runtime, participant) = gossip();
    let served = serve(folder.path(), &participant, &keys);
    let url = served.url.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = runtime.block_on(ask(&url, &key));
    assert!(said.contains("Bearer ***"), "the participant did repeat it: {said}");
    served.signal("TERM");
    let log = served.log();
    assert_eq!(served.code(), Some(0));

    let mut places = vec![(PathBuf::from("the answers of the API"), said)];
    contents(folder.path(), &mut places);
    let secret = key.rsplit('_').next().unwrap();
    assert!(places.iter().any(|(path, _)| path.ends_with("saga.db")) && log.contains("TRACE"));
    for (place, text) in &places {
        // What was put into a file is there.
        let given = place.ends_with("saga.toml");
        let canaries = [TOKEN, BEARER, COOKIE, HOOK_SECRET, HOOK_PATH, COLLECTOR, secret];
        for canary in canaries.into_iter().filter(|_| !given) {
            assert!(!text.contains(canary), "{canary} is in {}", place.display());
        }
    }
}

/// What a command says, on both of its outputs.
fn said(command: &mut Command) -> String {
    let output = command.env("STATE_DIRECTORY", "/nowhere").output().unwrap();
    stdout(&output) + &stderr(&output)
}

#[test]
fn the_password_of_a_database_is_in_no_message() {
    let saga = || program(Path::new(BINARY));
    for url in [
        format!("postgres://saga:{PASSWORD}@127.0.0.1:1/saga"),
        format!("postgres://saga:{PASSWORD}@127.0.0.1:port/saga"),
        format!("postgres://127.0.0.1:1/saga?user=saga&password={PASSWORD}"),
        format!("mysql://saga:{PASSWORD}@127.0.0.1/saga"),
        format!("saga:{PASSWORD}@127.0.0.1"),
    ] {
        let migrated = said(saga().args(["migrate", "--check", "--store", &url]));
        let config = said(saga().args(["config"]).env("SAGA_STORE", &url));
        let json = said(saga().args(["config", "--json", "--store", &url]));
        for text in [migrated, config, json] {
            assert!(!text.is_empty() && !text.contains(PASSWORD), "{url}: {text}");
        }
    }
}

#[test]
fn the_password_of_a_database_that_answers_is_neither_logged_nor_shown() {
    let folder = folder();
    let mut url = reqwest::Url::parse(&throwaway_postgres::fresh_database().unwrap()).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    let flags = ["--store", url.as_str(), "--log-filter", "trace"];
    let served = Served::start(folder.path(), &flags);
    let done = served.run(&["start", "brew-tea", "{\"cups\": 1}", "--wait", "60s"]);
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let said = served.banner.clone() + &served.http("/v1/workers") + &served.http("/metrics");
    served.signal("TERM");
    served.until_logged("drained");
    let log = served.log();
    assert!(log.contains("DEBUG") && !log.contains(PASSWORD) && !said.contains(PASSWORD), "{log}");
}
