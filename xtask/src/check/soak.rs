//! The soak as a check: a short run on each store, which must find nothing, and must have done what
//! it is for.

use serde_json::Value;

use super::Outcome;
use super::child::{End, Runner};
use crate::workspace;

const KILLS: u64 = 200;

/// Runs the soak on a store and checks its JSON object.
pub(super) async fn short(runner: &mut Runner, store: &str) -> anyhow::Result<Outcome> {
    if store == "postgres"
        && let Err(error) = throwaway_postgres::installed()
    {
        return Ok(Outcome::Skipped(format!("there is no server to crash: {error}")));
    }
    let mut command = workspace::cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--", "soak", "--json"]);
    command.args(["--store", store, "--kills", &KILLS.to_string()]);
    let mut last = String::new();
    let end = runner.run(command, |line| line.clone_into(&mut last)).await?;
    Ok(outcome(end, &faults(&last)))
}

/// What was found tells more than an exit code, and a hang more than both.
fn outcome(end: End, faults: &[String]) -> Outcome {
    match end.fault("the soak says all is well but does not exit 0") {
        Some(fault) if faults.is_empty() || end != End::Failed => Outcome::Failed(fault),
        None if faults.is_empty() => Outcome::Passed,
        Some(_) | None => Outcome::Failed(faults.join("; ")),
    }
}

/// What the JSON object of the soak should say and does not.
fn faults(line: &str) -> Vec<String> {
    let Ok(Value::Object(summary)) = serde_json::from_str(line) else {
        return vec!["the soak did not end with a JSON object; it says why above".to_owned()];
    };
    let is = |field: &str| summary.get(field).cloned().unwrap_or(Value::Null);
    let strings = |field: &str| -> Vec<String> {
        let values = is(field).as_array().cloned().unwrap_or_default();
        values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut faults = strings("findings");
    if is("violations") != 0 && faults.is_empty() {
        faults.push(format!("`violations` should be 0 but is {}", is("violations")));
    }
    let lagging = strings("crash_points_lagging");
    faults.extend(lagging.iter().map(|point| format!("crash point {point} was hit too seldom")));
    let done = |fault: &str| is("faults").get(fault).and_then(Value::as_u64).unwrap_or_default();
    if done("worker killed") < KILLS {
        faults.push(format!("{KILLS} workers should be killed but {} were", done("worker killed")));
    }
    for fault in ["worker frozen past its lease", "worker drained"] {
        if done(fault) == 0 {
            faults.push(format!("there was no `{fault}`"));
        }
    }
    let ended = |status: &str| is("sagas").get(status).and_then(Value::as_u64).unwrap_or_default();
    for status in ["completed", "compensated"] {
        if ended(status) == 0 {
            faults.push(format!("no saga ended `{status}`"));
        }
    }
    let all =
        is("sagas").as_object().map_or(0, |sagas| sagas.values().filter_map(Value::as_u64).sum());
    if ended("stuck") * 5 > all {
        faults.push(format!("{} of {all} sagas are stuck", ended("stuck")));
    }
    for field in ["orders", "calls", "transitions", "commands", "together", "drained", "forgotten"]
    {
        if is(field).as_u64().unwrap_or_default() == 0 {
            faults.push(format!("`{field}` should be a number but is {}", is(field)));
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
            "orders": 300, "calls": 2_000, "transitions": 3_000, "commands": 40, "together": 150,
            "drained": 9, "forgotten": 100,
            "violations": 0, "findings": [],
            "crash_points_lagging": [], "sagas": {"completed": 200, "compensated": 90, "stuck": 10},
            "faults": {
                "worker killed": 200, "worker frozen past its lease": 9, "worker drained": 12
            }
        })
    }

    #[test]
    fn a_soak_that_found_nothing_and_did_its_work_has_no_faults() {
        assert_eq!(faults(&well().to_string()), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_missing_or_was_found_is_named() {
        for (field, value, named) in [
            ("orders", json!(0), "orders"),
            ("commands", json!(0), "commands"),
            ("drained", json!(0), "drained"),
            ("forgotten", json!(0), "forgotten"),
            ("together", json!(null), "together"),
            ("sagas", json!({"completed": 100, "stuck": 1}), "compensated"),
            ("sagas", json!({"completed": 9, "compensated": 9, "stuck": 9}), "9 of 27"),
            ("violations", json!(2), "violations"),
            ("findings", json!(["S3: saga x"]), "S3: saga x"),
            ("crash_points_lagging", json!(["drain (0 of 1)"]), "drain (0 of 1)"),
        ] {
            let mut summary = well();
            summary[field] = value;
            let faults = faults(&summary.to_string());
            assert!(matches!(&faults[..], [one] if one.contains(named)), "{field}: {faults:?}");
        }
        let mut idle = well();
        idle["faults"] = json!({});
        assert_eq!(faults(&idle.to_string()).len(), 3);
        assert_eq!(faults("no violations").len(), 1);
    }
}
