//! Each bench that starts processes of its own, small: what it finds counts here, never its speed.
#![allow(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod load;
mod memory;
mod recovery;
mod scale;

use std::process::Command;

use serde_json::Value;

/// Runs a bench with `--json` and gives what it printed, an object for each line.
fn bench(line: &str) -> Vec<Value> {
    let (ok, said, complaint) = run(&format!("{line} --json"));
    assert!(ok, "saga-bench {line} failed: {complaint}");
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a bench that has to refuse its options, and gives what it says about them.
fn refused(line: &str) -> String {
    let (ok, said, complaint) = run(line);
    assert!(!ok, "saga-bench {line} went through: {said}");
    complaint
}

fn run(line: &str) -> (bool, String, String) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_saga-bench"));
    let output = bench.args(line.split(' ')).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// A figure of a line.
fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no number `{name}` in {figures}"))
}
