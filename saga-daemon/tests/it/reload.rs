//! A real SIGHUP to a real daemon with sagas in flight.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{BINARY, Served, folder, program, stderr, stdout};
use crate::support::PATIENCE;

/// A participant that answers when it is let, and keeps the paths it was called at.
struct Bank {
    url: String,
    open: tokio::sync::watch::Sender<bool>,
    called: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Bank {
    fn new() -> Self {
        let called: Arc<Mutex<Vec<String>>> = Arc::default();
        let (open, opened) = tokio::sync::watch::channel(false);
        let kept = called.clone();
        let answer = move |uri: axum::http::Uri| {
            kept.lock().unwrap().push(uri.path().to_owned());
            let mut opened = opened.clone();
            async move {
                opened.wait_for(|open| *open).await.unwrap();
                axum::Json(serde_json::json!({}))
            }
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(answer);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, open, called, _runtime: runtime }
    }

    fn called(&self) -> Vec<String> {
        self.called.lock().unwrap().clone()
    }

    fn until_called(&self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.called().len() < times {
            assert!(Instant::now() < deadline, "called only at {:?}", self.called());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A daemon on a folder of definitions that belongs to the test.
struct World {
    folder: TempDir,
    bank: Bank,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: folder(), bank: Bank::new() };
        fs::create_dir(world.definitions()).unwrap();
        world
    }

    fn definitions(&self) -> PathBuf {
        self.folder.path().join("definitions")
    }

    /// Writes `pay` with one pivot, which is called at a path.
    fn pay(&self, file: &str, version: u32, step: &str, path: &str) {
        let url = &self.bank.url;
        let text = format!(
            "name: pay\nversion: {version}\nallow_hosts: [127.0.0.1]\nparticipants:\n  bank: {url}\nsteps:\n  \
             - name: {step}\n    participant: bank\n    pivot: {path}\n    timeout: 60s\n"
        );
        fs::write(self.definitions().join(file), text).unwrap();
    }

    fn serve(&self, more: &[&str]) -> Served {
        let definitions = self.definitions();
        let flags = [&["--definitions", definitions.to_str().unwrap()], more].concat();
        Served::of(Path::new(BINARY), self.folder.path(), &flags)
    }
}

fn start(served: &Served) -> (String, Value) {
    let started = served.json(&["start", "pay", "{}"]);
    (started["id"].as_str().unwrap().to_owned(), started["version"].clone())
}

fn completes(served: &Served, id: &str) {
    let ended = served.run(&["get", id, "--wait", "60s"]);
    assert_eq!(ended.status.code(), Some(0), "{} {}", stdout(&ended), served.log());
}

#[test]
fn a_new_version_serves_new_sagas_while_those_in_flight_finish_on_theirs() {
    let world = World::new();
    world.pay("pay.yaml", 1, "capture", "first");
    let served = world.serve(&[]);
    let (old, version) = start(&served);
    assert_eq!(version, 1);
    world.bank.until_called(1);
    world.pay("pay-2.yaml", 2, "charge", "second");
    served.signal("HUP");
    served.until_logged("pay v2 is new");
    served.until_logged("have been read again");
    let (new, version) = start(&served);
    assert_eq!(version, 2);
    world.bank.until_called(2);
    // The file of the first goes while its saga is being called.
    fs::remove_file(world.definitions().join("pay.yaml")).unwrap();
    served.signal("HUP");
    served.until_logged("pay v1 is in no file any more");
    world.bank.open.send(true).unwrap();
    completes(&served, &old);
    completes(&served, &new);
    assert_eq!(world.bank.called(), ["/first", "/second"]);
    let workers = served.http("/v1/workers");
    assert!(workers.contains("pay v2"), "the others are told: {workers}");
}

#[test]
fn a_version_that_is_the_same_saga_gets_its_new_url_and_policies() {
    let world = World::new();
    world.pay("pay.yaml", 1, "capture", "first");
    world.bank.open.send(true).unwrap();
    let served = world.serve(&[]);
    let (id, _) = start(&served);
    completes(&served, &id);
    world.pay("pay.yaml", 1, "capture", "moved");
    served.signal("HUP");
    served.until_logged("pay v1 has new policies or calls");
    served.until_logged("have been read again");
    let (id, _) = start(&served);
    completes(&served, &id);
    assert_eq!(world.bank.called(), ["/first", "/moved"]);
}

#[test]
fn with_a_fault_anywhere_nothing_changes_and_every_fault_is_logged_with_its_place() {
    let world = World::new();
    world.bank.open.send(true).unwrap();
    world.pay("pay.yaml", 1, "capture", "first");
    let served = world.serve(&[]);
    let broken = world.definitions().join("broken.yaml");
    fs::write(&broken, "name: broken\nsteps:\n  - name: a\n    pivto: https://a.example\n")
        .unwrap();
    fs::write(world.definitions().join("other.yaml"), "name: Other Name\nsteps: []\n").unwrap();
    world.pay("pay-2.yaml", 2, "charge", "second");
    served.signal("HUP");
    served.until_logged("nothing was changed");
    for part in ["broken.yaml:4:5", "other.yaml:1:7", "other.yaml:2:"] {
        assert!(served.log().contains(part), "{part}: {}", served.log());
    }
    assert_eq!(start(&served).1, 1, "the good file was not taken either");

    // Another structure under a version on record is refused, with what is different.
    fs::remove_file(&broken).unwrap();
    fs::remove_file(world.definitions().join("other.yaml")).unwrap();
    world.pay("pay.yaml", 1, "collect", "first");
    served.signal("HUP");
    served.until_logged("was changed under the same version");
    let log = served.log();
    assert!(log.contains("collect") && log.contains("capture"), "the difference: {log}");
    let (id, version) = start(&served);
    assert_eq!(version, 1);
    completes(&served, &id);

    world.pay("pay.yaml", 1, "capture", "first");
    served.signal("HUP");
    served.until_logged("pay v2 is new");
    served.until_logged("have been read again");
    assert_eq!(start(&served).1, 2);
}

/// Makes a key; answers with its text and its entry in a file of keys.
fn key(id: &str) -> (String, String) {
    let mut command = program(Path::new(BINARY));
    let made = command.args(["keys", "new", id, "--role", "admin"]).output().unwrap();
    (stdout(&made).trim().to_owned(), stderr(&made))
}

#[test]
fn a_key_that_is_taken_out_is_refused_and_a_new_one_is_known() {
    let world = World::new();
    world.pay("pay.yaml", 1, "capture", "first");
    let (keys_file, (old, old_entry), (new, new_entry)) =
        (world.folder.path().join("keys.toml"), key("old"), key("new"));
    fs::write(&keys_file, &old_entry).unwrap();
    let config = world.folder.path().join("saga.toml");
    fs::write(&config, format!("keys_file = {keys_file:?}\n")).unwrap();
    let served = world.serve(&["--config", config.to_str().unwrap()]);
    let list = |key: &str| served.run(&["list", "--api-key", key]).status.code();
    assert_eq!((list(&old), list(&new)), (Some(0), Some(1)));

    fs::write(&keys_file, format!("{old_entry}{new_entry}")).unwrap();
    served.signal("HUP");
    served.until_logged("new (admin)");
    served.until_logged("have been read again");
    assert_eq!((list(&old), list(&new)), (Some(0), Some(0)), "both, to hand the new one out");

    fs::write(&keys_file, &new_entry).unwrap();
    let more =
        format!("keys_file = {keys_file:?}\nworker.lease_ttl = '20s'\nhttp.streams_max = 3\n");
    fs::write(&config, more).unwrap();
    served.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    while list(&old) != Some(1) {
        assert!(Instant::now() < deadline, "the old key still opens: {}", served.log());
    }
    assert_eq!(list(&new), Some(0));
    served.until_logged("takes effect at the next start");
    assert!(served.log().contains("http.streams_max"), "{}", served.log());
}
