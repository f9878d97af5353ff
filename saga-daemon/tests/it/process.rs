//! The real programs: `saga-worker`, and `embed_daemon`, which is the same with steps in Rust.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::PATIENCE;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_saga-worker");

/// The example beside the tests' own program.
pub(crate) fn embed() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap();
    folder.join("examples").join(format!("embed_daemon{}", std::env::consts::EXE_SUFFIX))
}

/// A program without the settings of whoever runs the tests.
pub(crate) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SAGA_")) {
        command.env_remove(name);
    }
    command
}

/// A daemon; killed when dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    pub(crate) banner: String,
    log: PathBuf,
    /// Flags for programs that ask it, beside its address.
    pub(crate) ask_with: Vec<String>,
    /// Kept open, as a terminal would be.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Served {
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        Self::of(&embed(), folder, more)
    }

    pub(crate) fn of(path: &Path, folder: &Path, more: &[&str]) -> Self {
        let mut command = program(path);
        command.arg("serve").args(more);
        for (flag, value) in [("--listen", "127.0.0.1:0"), ("--worker-lease-ttl", "1s")] {
            if !more.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.env("STATE_DIRECTORY", folder.join("data"));
        Self::spawn(command, folder)
    }

    pub(crate) fn spawn(mut command: Command, folder: &Path) -> Self {
        let log = folder.join(format!("log-{}", uuid::Uuid::new_v4().simple()));
        let stderr = std::fs::File::create(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        while !banner.contains("End it with") {
            let line = lines.next().unwrap_or_else(|| {
                panic!("it says where it is: {}", std::fs::read_to_string(&log).unwrap())
            });
            banner.push_str(&line.unwrap());
            banner.push('\n');
        }
        let url = banner.lines().find_map(|line| line.trim().strip_prefix("API ")).unwrap();
        let (url, ask_with) = (url.trim().to_owned(), Vec::new());
        Self { child, url, banner, log, ask_with, _stdout: lines }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged these words.
    pub(crate) fn until_logged(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "never logged {words:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program(Path::new(BINARY));
        command.args(arguments).args(["--url", &self.url]).args(&self.ask_with).output().unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"))
    }

    /// Waits until a step of a saga is in this state; asked directly, since a program per look
    /// would be too slow to catch a call in flight.
    pub(crate) fn until(&self, id: &str, step: usize, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.http(&format!("/v1/sagas/{id}"));
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let view: Value = serde_json::from_str(body).unwrap();
            if view["steps"][step]["state"] == state {
                return;
            }
            assert!(Instant::now() < deadline, "step {step} was never {state}");
        }
    }

    /// Whether requests should come here.
    pub(crate) fn ready(&self) -> bool {
        self.http("/readyz").starts_with("HTTP/1.1 200")
    }

    /// The whole answer to a GET.
    pub(crate) fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://")).unwrap();
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_saga_in_flight_when_its_daemon_is_killed_goes_on_in_the_next_one() {
    let folder = folder();
    let first = Served::start(folder.path(), &[]);
    let tea = "{\"cups\": 2, \"boil_ms\": 2500}";
    let started = first.json(&["start", "brew-tea", tea, "--key", "tea-1"]);
    let id = started["id"].as_str().unwrap().to_owned();
    first.until(&id, 1, "received");
    first.signal("KILL");
    assert_eq!(first.code(), None, "it died of the signal");
    let second = Served::start(folder.path(), &[]);
    let repeated = second.json(&["start", "brew-tea", tea, "--key", "tea-1"]);
    assert_eq!(repeated["id"], id, "the start was durable");
    let ended = second.run(&["get", &id, "--wait", "30s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
    let log = stdout(&second.run(&["log", &id]));
    assert!(log.contains("worker lost") && log.contains("step boil received (attempt 2)"), "{log}");
    assert!(log.contains("saga ended: completed"), "{log}");
}

#[test]
fn sigterm_lets_the_call_in_flight_end_and_exits_with_0() {
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    let started = served.json(&["start", "brew-tea", "{\"cups\": 1, \"boil_ms\": 2500}"]);
    let id = started["id"].as_str().unwrap().to_owned();
    served.until(&id, 1, "received");
    served.signal("TERM");
    assert_eq!(served.code(), Some(0));
    let next = Served::start(folder.path(), &[]);
    let ended = next.run(&["get", &id, "--wait", "30s"]);
    assert_eq!(ended.status.code(), Some(0));
    let log = stdout(&next.run(&["log", &id]));
    assert!(!log.contains("worker lost") && !log.contains("attempt 2"), "{log}");
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let folder = folder();
        let served = Served::start(folder.path(), &[]);
        let started = served.json(&["start", "brew-tea", "{\"cups\": 1, \"boil_ms\": 2500}"]);
        let id = started["id"].as_str().unwrap().to_owned();
        served.until(&id, 1, "received");
        served.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while served.ready() {
            assert!(Instant::now() < deadline, "readiness never fell");
        }
        served.signal(second);
        let begun = Instant::now();
        assert_eq!(served.code(), Some(code));
        assert!(begun.elapsed() < Duration::from_secs(2));
        let next = Served::start(folder.path(), &[]);
        assert_eq!(next.run(&["get", &id, "--wait", "60s"]).status.code(), Some(0));
    }
}

#[test]
fn health_is_asked_for_without_a_shell() {
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    for question in [&["health"][..], &["health", "--ready"]] {
        let answer = served.run(question);
        assert_eq!(answer.status.code(), Some(0), "{}", stderr(&answer));
    }
    served.signal("KILL");
    let gone = served.run(&["health"]);
    assert_eq!(gone.status.code(), Some(69), "{}", stdout(&gone));
}

#[test]
fn a_daemon_that_is_asked_to_ends_with_its_standard_input() {
    let folder = folder();
    let mut command = program(&embed());
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
        .env("STATE_DIRECTORY", folder.path().join("data"))
        .stdin(Stdio::piped());
    let mut served = Served::spawn(command, folder.path());
    assert!(served.ready());
    drop(served.child.stdin.take());
    assert_eq!(served.code(), Some(0));
}

#[test]
fn the_command_line_watches_all_sagas() {
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    for cups in ["99", "1"] {
        served.run(&["start", "brew-tea", &format!("{{\"cups\": {cups}}}"), "--wait", "30s"]);
    }
    let mut all = program(Path::new(BINARY));
    all.args(["watch", "--all", "--after", "beginning", "--verdicts", "--url", &served.url]);
    let mut all = all.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(all.stdout.take().unwrap()).lines();
    let lines = lines.map(Result::unwrap).filter(|line| line.contains("saga ended"));
    let ends: Vec<String> = lines.take(2).collect();
    assert!(ends[0].contains("brew-tea  compensated"), "{ends:?}");
    assert!(ends[1].contains("brew-tea  completed"), "{ends:?}");
    all.kill().unwrap();
    all.wait().unwrap();
    let refused = served.run(&["watch", "--all", "--after", "nonsense"]);
    assert!(stderr(&refused).contains("cursor"), "{}", stderr(&refused));
    assert_eq!(served.run(&["watch"]).status.code(), Some(2), "neither one nor all");
}

#[test]
fn the_command_line_starts_watches_lists_and_commands() {
    let folder = folder();
    let served = Served::start(folder.path(), &[]);
    for line in ["brew-tea v1", "/docs", "saga.db", "none: everybody"] {
        assert!(served.banner.contains(line), "{}", served.banner);
    }
    let refused = served.run(&["start", "brew-tea", "{\"cups\": 99}", "--wait", "10s"]);
    assert_eq!(refused.status.code(), Some(10), "{}", stderr(&refused));
    for part in ["compensated", "draw-water", "rejected: the kettle holds two litres"] {
        assert!(stdout(&refused).contains(part), "{}", stdout(&refused));
    }
    let slow = served.json(&["start", "brew-tea", "{\"cups\": 1, \"boil_ms\": 300}", "--key", "k"]);
    let id = slow["id"].as_str().unwrap();
    let watched = served.run(&["watch", id]);
    assert_eq!(watched.status.code(), Some(0));
    for part in ["saga brew-tea v1 started", "step boil processed", "saga ended: completed"] {
        assert!(stdout(&watched).contains(part), "{}", stdout(&watched));
    }
    let listed = stdout(&served.run(&["list", "--status", "completed,compensated"]));
    assert!(listed.contains(id) && listed.contains("1 completed"), "{listed}");
    let late = served.run(&["cancel", id, "--reason", "changed my mind"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(stderr(&late).contains("a verdict is final"), "{}", stderr(&late));
}

/// A participant whose first answer never comes; it keeps the idempotency keys of its calls.
fn bank() -> (tokio::runtime::Runtime, String, Arc<Mutex<Vec<String>>>) {
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = keys.clone();
    let capture = axum::routing::post(move |headers: axum::http::HeaderMap| async move {
        let first = {
            let mut keys = seen.lock().unwrap();
            keys.push(headers["idempotency-key"].to_str().unwrap().to_owned());
            keys.len() == 1
        };
        if first {
            std::future::pending::<()>().await;
        }
        axum::Json(serde_json::json!({ "captured": true }))
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/capture", capture);
    runtime.spawn(async move { axum::serve(listener, router).await });
    (runtime, url, keys)
}

#[test]
fn a_saga_from_yaml_survives_the_kill_of_the_binary_and_calls_under_the_same_key() {
    let folder = folder();
    let (_runtime, bank, keys) = bank();
    let yaml = format!(
        "name: pay\nallow_hosts: [127.0.0.1]\nparticipants:\n  bank: {bank}\nsteps:\n  \
         - name: capture\n    participant: bank\n    pivot: capture\n    timeout: 20s\n"
    );
    let definitions = folder.path().join("definitions");
    std::fs::create_dir(&definitions).unwrap();
    std::fs::write(definitions.join("pay.yaml"), yaml).unwrap();
    let flags = ["--definitions", definitions.to_str().unwrap()];
    let first = Served::of(Path::new(BINARY), folder.path(), &flags);
    assert!(first.banner.contains("pay v1"), "{}", first.banner);
    let started = first.json(&["start", "pay", "{\"cents\": 499}"]);
    let id = started["id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + PATIENCE;
    while keys.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the bank was never called");
        std::thread::sleep(Duration::from_millis(5));
    }
    first.signal("KILL");
    first.code();
    let second = Served::of(Path::new(BINARY), folder.path(), &flags);
    let ended = second.run(&["get", &id, "--wait", "30s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn faulty_definitions_are_shown_with_their_place_and_keep_the_daemon_from_starting() {
    let folder = folder();
    let file = folder.path().join("pay.yaml");
    std::fs::write(
        &file,
        "name: pay\nsteps:\n  - name: capture\n    pivto: https://bank.example\n",
    )
    .unwrap();
    let path = folder.path().to_str().unwrap();
    let run = |arguments: &[&str]| program(Path::new(BINARY)).args(arguments).output().unwrap();
    let checked = run(&["check", path]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stderr(&checked).contains("pay.yaml:4:5"), "{}", stderr(&checked));
    let json: Value = serde_json::from_slice(&run(&["check", path, "--json"]).stdout).unwrap();
    let misspelt = json.as_array().unwrap().iter().find(|fault| fault["line"] == 4).unwrap();
    assert_eq!((&misspelt["column"], &misspelt["code"]), (&Value::from(5), &Value::from("key")));
    let store = format!("sqlite://{path}/saga.db");
    let served =
        run(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--definitions", path]);
    assert_eq!(served.status.code(), Some(78));
    let secret = "name: pay\nsteps:\n  - name: capture\n    pivot:\n      url: https://bank.example\n      \
                  headers: { Authorization: Bearer secret://BANK_TOKEN }\n";
    std::fs::write(&file, secret).unwrap();
    let checked = run(&["check", path]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("pay v1") && stdout(&checked).contains("BANK_TOKEN"));
    let served =
        run(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--definitions", path]);
    assert_eq!(served.status.code(), Some(78));
    assert!(stderr(&served).contains("BANK_TOKEN"), "{}", stderr(&served));
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["steps"].is_object());
}

#[test]
fn keys_made_on_the_command_line_open_the_api_for_their_role() {
    let folder = folder();
    let made = program(Path::new(BINARY))
        .args(["keys", "new", "eyes", "--role", "viewer"])
        .output()
        .unwrap();
    let (text, entry) = (stdout(&made), stderr(&made));
    let keys = folder.path().join("keys.toml");
    std::fs::write(&keys, entry).unwrap();
    let served = Served::start(folder.path(), &["--keys-file", keys.to_str().unwrap()]);
    assert!(served.banner.contains("eyes (viewer)"), "{}", served.banner);
    assert_eq!(served.run(&["list"]).status.code(), Some(1));
    let key = ["--api-key", text.trim()];
    assert_eq!(served.run(&[&["list"][..], &key].concat()).status.code(), Some(0));
    let start = served.run(&[&["start", "brew-tea", "{\"cups\": 1}"][..], &key].concat());
    assert!(stderr(&start).contains("needs the role starter"), "{}", stderr(&start));
}

#[test]
fn faults_have_the_exit_codes_that_the_help_lists() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = program(Path::new(BINARY));
        command.env("STATE_DIRECTORY", folder.path()).args(arguments).output().unwrap()
    };
    let faulty = run(&["serve", "--listen", "everywhere", "--worker-lease-ttl", "10"]);
    assert_eq!(faulty.status.code(), Some(78));
    let said = stderr(&faulty);
    assert!(said.contains("2 faults:") && said.contains("--worker-lease-ttl"), "{said}");
    let exposed = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(exposed.status.code(), Some(78));
    assert!(stderr(&exposed).contains("--insecure"), "{}", stderr(&exposed));
    let nobody = run(&["list", "--url", "http://127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(69), "{}", stderr(&nobody));
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(2));
    let config = run(&["config", "--log-format", "json"]);
    assert_eq!(config.status.code(), Some(0));
    assert!(stdout(&config).contains("--log-format"), "{}", stdout(&config));
    assert!(stdout(&run(&["openapi"])).contains("\"openapi\": \"3.1.0\""));
    assert!(stdout(&run(&["completions", "bash"])).contains("saga-worker"));
}
