//! The files for packagers name only what there is.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::process::{BINARY, folder, program, stderr, stdout};

const UNIT: &str = include_str!("../../packaging/saga-worker.service");
const SETTINGS: &str = include_str!("../../packaging/saga.toml");
const DOCKERFILE: &str = include_str!("../../packaging/Dockerfile");
const OPERATIONS: &str = include_str!("../../OPERATIONS.md");

fn help(arguments: &[&str]) -> String {
    stdout(&program(Path::new(BINARY)).args(arguments).arg("--help").output().unwrap())
}

/// What the program knows as settings: keys of the file, and variables.
fn settings() -> (BTreeSet<String>, BTreeSet<String>) {
    let config = program(Path::new(BINARY)).args(["config", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&config.stdout).unwrap();
    let keys: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["key"].as_str().unwrap().to_owned())
        .collect();
    let variable = |key: &String| format!("SAGA_{}", key.replace('.', "__").to_uppercase());
    let variables = keys.iter().map(variable).collect();
    (keys, variables)
}

/// The words of a text that begin so, without what surrounds them.
fn words<'a>(text: &'a str, begins: &'a str) -> impl Iterator<Item = &'a str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
    text.split(part).filter(move |word| word.starts_with(begins) && word.len() > begins.len())
}

#[test]
fn the_unit_calls_the_program_as_it_can_be_called() {
    let start = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let arguments: Vec<&str> = start.split_whitespace().skip(1).collect();
    assert_eq!(arguments[0], "serve");
    let known = help(&["serve"]);
    for flag in words(start, "--") {
        assert!(known.contains(&format!("{flag} ")), "{flag}");
    }
    // The drain has to fit into what systemd waits for.
    let seconds = |key: &str| -> u64 {
        let value = UNIT.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        value.trim_end_matches('s').parse().unwrap()
    };
    let drain = settings_default("worker.drain_timeout");
    assert!(seconds("TimeoutStopSec=") > drain + 10);
    for code in ["2", "78"] {
        let line = UNIT.lines().find(|line| line.starts_with("RestartPreventExitStatus=")).unwrap();
        assert!(line.contains(code) && help(&[]).contains(&format!("\n  {code} ")), "{code}");
    }
}

fn settings_default(key: &str) -> u64 {
    let config = program(Path::new(BINARY)).args(["config", "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&config.stdout).unwrap();
    let found = listed.as_array().unwrap().iter().find(|one| one["key"] == key).unwrap();
    found["value"].as_str().unwrap().trim_end_matches('s').parse().unwrap()
}

#[test]
fn the_example_of_settings_is_taken_and_so_is_every_line_that_is_commented_out() {
    // A line that could stand there begins, after the #, with a key or a table.
    let uncommented: String = SETTINGS
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || rest.contains(" = ") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = folder();
    let (keys, _) = settings();
    for (name, text) in [("as-is.toml", SETTINGS.to_owned()), ("all.toml", uncommented)] {
        let path = folder.path().join(name);
        // Files it names are there on a machine where it is installed.
        let text = text.replace("/etc/saga/keys.toml", "");
        std::fs::write(&path, &text).unwrap();
        let mut taken = program(Path::new(BINARY));
        taken.arg("config").arg("--config").arg(&path);
        let taken = taken.env("SAGA_SECRET_SHOP_HOOK", "a-secret-of-the-shop").output().unwrap();
        assert_eq!(taken.status.code(), Some(0), "{name}: {}", stderr(&taken));
    }
    for key in ["store", "tls.cert", "worker.retention", "log.format"] {
        assert!(keys.contains(key), "{key}");
    }
}

#[test]
fn the_image_sets_variables_and_calls_commands_that_there_are() {
    let (_, variables) = settings();
    for variable in words(DOCKERFILE, "SAGA_") {
        assert!(variables.contains(variable), "{variable}");
    }
    let commands = help(&[]);
    for command in ["health", "serve", "keys"] {
        assert!(DOCKERFILE.contains(command), "{command}");
        assert!(commands.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))));
    }
    assert!(DOCKERFILE.contains("\nUSER 65532") && !DOCKERFILE.contains(":latest"));
}

#[test]
fn the_guide_for_operators_names_every_setting_and_no_other() {
    let (keys, _) = settings();
    for key in &keys {
        assert!(OPERATIONS.contains(&format!("`{key}`")), "`{key}` is not in OPERATIONS.md");
    }
    let serve = help(&["serve"]);
    for flag in ["--no-migrate", "--tls-cert", "--tls-key", "--tls-client-ca", "--exit-with-stdin"]
    {
        assert!(serve.contains(flag), "{flag}");
    }
}

/// A supervisor as systemd is one: a socket that is told how the daemon is.
#[cfg(target_os = "linux")]
#[test]
fn a_supervisor_is_told_when_the_daemon_serves_lives_and_stops() {
    use crate::process::{Served, embed};
    use crate::support::PATIENCE;

    let folder = folder();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program(&embed());
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("STATE_DIRECTORY", folder.path().join("data"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "100000");
    let served = Served::spawn(command, folder.path());
    let next = || {
        let mut message = [0; 100];
        let length = socket.recv(&mut message).expect("the supervisor is told in time");
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    served.signal("TERM");
    let stopping = std::iter::repeat_with(next).take_while(|message| message == "WATCHDOG=1");
    assert!(stopping.count() < 100_000, "it says STOPPING=1");
    assert_eq!(served.code(), Some(0));
}
