//! The demo as a smoke test: what it says must be right, not only its exit code.

use serde_json::Value;

use super::Outcome;
use super::child::{End, Runner};
use crate::workspace;

const ORDERS: u64 = 60;
const KILLS: u64 = 2;

/// One run of the demo.
#[derive(Debug, Clone, Copy)]
struct Smoke {
    store: &'static str,
    definition: &'static str,
    workers: u64,
}

const ON_SQLITE: Smoke = Smoke { store: "sqlite", definition: "yaml", workers: 1 };
const ON_POSTGRES: Smoke = Smoke { store: "postgres", definition: "rust", workers: 4 };

/// Runs the demo in a misbehaving world and checks its JSON object: one daemon on SQLite, with the
/// definition in YAML.
pub(super) async fn on_sqlite(runner: &mut Runner) -> anyhow::Result<Outcome> {
    run(runner, ON_SQLITE).await
}

/// The same with four daemons on PostgreSQL, where there is one, and the definition in Rust.
pub(super) async fn on_postgres(runner: &mut Runner) -> anyhow::Result<Outcome> {
    match throwaway_postgres::available() {
        Ok(()) => run(runner, ON_POSTGRES).await,
        Err(missing) => Ok(Outcome::Skipped(missing.to_string())),
    }
}

async fn run(runner: &mut Runner, smoke: Smoke) -> anyhow::Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "demo", "--json"]);
    command.args(["--store", smoke.store, "--workers", &smoke.workers.to_string()]);
    command.args(["--definition", smoke.definition]);
    command.args(["--orders", &ORDERS.to_string(), "--kills", &KILLS.to_string()]);
    command.args(["--faults", "wild"]);
    let mut last = String::new();
    let end = runner.run(command, |line| line.clone_into(&mut last)).await?;
    Ok(outcome(end, &faults(&last, smoke)))
}

/// What is wrong in the JSON object tells more than an exit code, and a hang more than both.
fn outcome(end: End, faults: &[String]) -> Outcome {
    match end.fault("the demo says all is well but does not exit 0") {
        Some(fault) if faults.is_empty() || end != End::Failed => Outcome::Failed(fault),
        None if faults.is_empty() => Outcome::Passed,
        Some(_) | None => Outcome::Failed(faults.join("; ")),
    }
}

/// What the JSON object of the demo should say and does not.
fn faults(line: &str, smoke: Smoke) -> Vec<String> {
    let Ok(Value::Object(summary)) = serde_json::from_str(line) else {
        return vec!["the demo did not end with a JSON object; it says why above".to_owned()];
    };
    let number = |field: &str| summary.get(field).and_then(Value::as_u64);
    let mut expected: Vec<(&str, Value)> = ["stuck", "stopped"].map(|f| (f, 0.into())).into();
    expected
        .extend(["duplicate_effects", "lost_effects", "orphaned_effects"].map(|f| (f, 0.into())));
    expected.push(("orders", ORDERS.into()));
    expected.push(("kills", KILLS.into()));
    expected.push(("store", smoke.store.into()));
    expected.push(("definition", smoke.definition.into()));
    expected.push(("workers", smoke.workers.into()));
    expected.push(("books_balance", true.into()));
    let is = |field: &str| summary.get(field).cloned().unwrap_or(Value::Null);
    let mut faults: Vec<String> = expected
        .into_iter()
        .filter(|(field, value)| is(field) != *value)
        .map(|(field, value)| format!("`{field}` should be {value} but is {}", is(field)))
        .collect();
    let verdicts = number("completed").zip(number("compensated")).map(|(one, other)| one + other);
    if verdicts != Some(ORDERS) {
        faults.push(format!("completed and compensated should add up to {ORDERS}"));
    }
    for field in ["p50_ms", "p99_ms", "elapsed_s"] {
        if !is(field).as_f64().is_some_and(|time| time > 0.0) {
            faults.push(format!("`{field}` should be a time but is {}", is(field)));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn well() -> Value {
        json!({
            "orders": 60, "completed": 40, "compensated": 20, "stuck": 0, "stopped": 0,
            "duplicate_effects": 0, "lost_effects": 0, "orphaned_effects": 0, "kills": 2,
            "store": "postgres", "definition": "rust", "workers": 4,
            "books_balance": true, "p50_ms": 10.5, "p99_ms": 99.0, "elapsed_s": 3.2
        })
    }

    #[test]
    fn a_good_end_has_no_faults() {
        assert_eq!(faults(&well().to_string(), ON_POSTGRES), Vec::<String>::new());
    }

    #[test]
    fn each_field_that_is_wrong_is_named() {
        for (field, value) in [
            ("orders", json!(59)),
            ("completed", json!(39)),
            ("stuck", json!(1)),
            ("lost_effects", json!(1)),
            ("kills", json!(1)),
            ("store", json!("sqlite")),
            ("definition", json!("yaml")),
            ("workers", json!(1)),
            ("books_balance", json!(false)),
            ("p99_ms", Value::Null),
        ] {
            let mut summary = well();
            summary[field] = value;
            let faults = faults(&summary.to_string(), ON_POSTGRES);
            assert!(matches!(&faults[..], [one] if one.contains(field)), "{field}: {faults:?}");
        }
    }

    #[test]
    fn no_json_at_the_end_is_a_fault() {
        assert_eq!(faults("All is well", ON_SQLITE).len(), 1);
    }
}
