//! The binaries: their first line, their ends, and what they say to a tired person.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

const BINARIES: [&str; 4] = [
    env!("CARGO_BIN_EXE_inventory"),
    env!("CARGO_BIN_EXE_coupons"),
    env!("CARGO_BIN_EXE_points"),
    env!("CARGO_BIN_EXE_payments"),
];

/// Starts a service and returns it with the URL of its first line.
fn start(binary: &str, database: impl AsRef<OsStr>) -> (Child, String) {
    let mut child = Command::new(binary)
        .args(["--exit-with-stdin", "--database"])
        .arg(database.as_ref())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("listening on ").expect(&line).to_owned();
    (child, url)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARIES[0]).args(arguments).output().unwrap()
}

#[test]
fn each_service_says_where_it_listens_and_ends_with_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    for (nth, binary) in BINARIES.iter().enumerate() {
        let (mut child, url) = start(binary, folder.path().join(format!("{nth}.db")));
        assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn all_services_may_share_one_postgres_database() {
    let url = throwaway_postgres::fresh_database().unwrap();
    // The second round meets the tables of the first, and in each all services start at once.
    for _ in 0..2 {
        let starts: Vec<_> = BINARIES
            .iter()
            .chain(&BINARIES)
            .map(|binary| (binary, url.clone()))
            .map(|(binary, url)| std::thread::spawn(move || start(binary, url)))
            .collect();
        for started in starts {
            let (mut child, _) = started.join().unwrap();
            drop(child.stdin.take());
            assert_eq!(child.wait().unwrap().code(), Some(0));
        }
    }
}

#[test]
fn a_postgres_database_that_cannot_be_is_one_clear_line_without_the_password() {
    let url = throwaway_postgres::fresh_database().unwrap();
    let missing = url.replace("saga@", "saga:secret@") + "_missing";
    for (url, why) in
        [(missing.as_str(), "does not exist"), ("postgres://saga:secret@127.0.0.1:1/x", "refused")]
    {
        let output = run(&["--database", url]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(why) && !stderr.contains("secret"), "{stderr}");
    }
}

#[test]
fn sigterm_and_sigint_end_a_service_with_0() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT"] {
        let (mut child, _) = start(BINARIES[0], folder.path().join("service.db"));
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, url) = start(BINARIES[0], folder.path().join("first.db"));
    let address = url.strip_prefix("http://").unwrap();
    let second = folder.path().join("second.db");
    let output = run(&["--listen", address, "--database", second.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(address) && stderr.contains("--listen"), "{stderr}");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_database_that_cannot_be_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let text_file = folder.path().join("notes.txt");
    std::fs::write(&text_file, "no database at all, but long enough to be read as a header of one")
        .unwrap();
    let missing_folder = folder.path().join("missing").join("service.db");
    for path in [text_file, missing_folder] {
        let output = run(&["--database", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(path.to_str().unwrap()), "{stderr}");
    }
}

#[test]
fn a_bad_flag_is_a_usage_error() {
    for arguments in [
        &["--database", "x.db", "--faults", "chaotic"][..],
        &["--database", "x.db", "--listen", "everywhere"],
        &["--database", "x.db", "--seed", "-1"],
        &["--database", "mysql://127.0.0.1/shop"],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
