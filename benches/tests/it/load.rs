//! The open loop from end to end: what it reports and what is told of two reports, never how fast.

use serde_json::Value;

use crate::{bench, number, refused, run};

/// A short run that leaves a report, and what it says as JSON.
fn load(line: &str) -> Value {
    let line = format!("load --rate 30 --seconds 2s --warm-up 1s {line} --json");
    let (ok, said, complaint) = run(&line);
    assert!(ok, "saga-bench {line} failed: {complaint}");
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

#[test]
fn a_run_is_audited_and_reported_and_two_reports_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    // A dot in the name is no extension, so each run has files of its own.
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (a, b) = (path("v1.0"), path("v1.1"));
    let plain = load(&format!("--store memory --report {a}"));
    let troubled =
        load(&format!("--store sqlite --mix rejected=20% --outage points:1s-1.5s --report {b}"));
    for (report, phases) in [(&plain, "healthy"), (&troubled, "trouble,after")] {
        let ends = &report["ends"];
        let verdicts = number(ends, "completed") + number(ends, "compensated");
        assert_eq!(verdicts, 60.0, "{ends}");
        assert_eq!(report["audit"]["findings"].as_array().unwrap().len(), 0);
        let names = report["phases"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|phase| phase["name"].as_str().unwrap()).collect();
        assert_eq!(names.join(","), phases);
    }
    assert!(number(&troubled["ends"], "compensated") > 0.0, "a fifth of the orders is rejected");
    for file in [&a, &b].map(|path| format!("{path}.html")) {
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.contains("<svg") && !page.contains("http"), "{file} needs no network");
    }
    let compared = &bench(&format!("compare {a}.json {b}.json"))[0];
    let told = |list: &str| compared[list].to_string();
    for name in ["store: memory and sqlite", "outage: none and points is down", "mix: "] {
        assert!(told("differences").contains(name), "{name} is no part of {compared}");
    }
    assert!(told("figures").contains("fdatasync") && told("figures").contains("not completed %"));
}

#[test]
fn a_report_that_is_none_and_windows_that_fit_no_run_are_refused() {
    assert!(refused("compare Cargo.toml Cargo.toml").contains("no report"));
    assert!(refused("load --outage points:30s-40s").contains("after the last arrival"));
    assert!(refused("table --store memory").contains("--store sqlite or --store postgres"));
    assert!(refused("table --trouble points").contains("is no part of a mix"));
    assert!(refused("table --participant point").contains("there is no participant `point`"));
}
