//! Every dimension with two small sizes: the runs check each verdict, and here is checked what is told.

use serde_json::Value;

use crate::{bench, number, refused};

/// The lines of points and those of growth.
fn scale(line: &str) -> (Vec<Value>, Vec<Value>) {
    let lines = bench(&format!("scale --seconds 1 --clients 8 {line}"));
    lines.into_iter().partition(|line| line["bench"] == "scale")
}

fn sizes(points: &[Value], dimension: &str) -> Vec<f64> {
    let along = points.iter().filter(|point| point["dimension"] == dimension);
    along.map(|point| number(point, "size")).collect()
}

fn waiting_sagas_run_when_they_are_due(store: &str) {
    let (points, growth) = scale(&format!("--store {store} --only due --due 30,60"));
    assert_eq!(sizes(&points, "due"), [30.0, 60.0]);
    for point in &points {
        // Twice where this machine is so busy that a worker loses its lease.
        assert!(number(point, "claims_per_saga") >= 1.0, "{point}");
        assert!(number(point, "fresh") > 0.0 && number(point, "fresh_before") > 0.0, "{point}");
    }
    assert_eq!(growth.len(), 2, "the time until all have run, and that of fresh sagas: {growth:?}");
}

#[test]
fn waiting_sagas_that_are_due_at_once_all_run_beside_fresh_ones() {
    waiting_sagas_run_when_they_are_due("sqlite");
}

#[test]
fn every_dimension_of_the_closed_loop_tells_its_points_and_its_growth() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("scale");
    let (points, growth) = scale(&format!(
        "--only concurrency,steps,payload,history --concurrency 4,1 --steps 2,4 --payload 200,4096 \
         --history 0,50 --report {}",
        report.display()
    ));
    assert_eq!(sizes(&points, "concurrency"), [1.0, 4.0]);
    assert_eq!(sizes(&points, "steps"), [2.0, 4.0]);
    assert_eq!(sizes(&points, "payload"), [200.0, 4096.0]);
    assert_eq!(sizes(&points, "history"), [0.0, 50.0]);
    assert!(points.iter().all(|point| number(point, "sagas") > 0.0), "{points:?}");
    for dimension in ["concurrency", "steps", "payload", "history"] {
        let told = growth.iter().find(|growth| growth["dimension"] == dimension).unwrap();
        assert!(number(told, "times") > 0.0 && told["words"].is_string(), "{told}");
    }
    let page = std::fs::read_to_string(report.with_extension("html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 8, "two plots for each of four dimensions");
    assert!(!page.contains("http"), "the page needs no network");
    let kept = std::fs::read_to_string(report.with_extension("json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["points"].as_array().unwrap().len(), points.len());
}

mod postgres {
    use super::{scale, sizes};

    #[test]
    fn waiting_sagas_that_are_due_at_once_all_run_beside_fresh_ones() {
        super::waiting_sagas_run_when_they_are_due("postgres");
    }

    #[test]
    fn several_workers_share_the_clients() {
        let (points, _) = scale("--store postgres --only workers --workers 1,2");
        assert_eq!(sizes(&points, "workers"), [1.0, 2.0]);
    }
}

#[test]
fn options_that_fit_no_run_are_refused() {
    for (line, why) in [
        ("--workers 0", "0 is not in 1..=64"),
        ("--steps 1", "1 is not in 2..=50"),
        ("--payload 100", "100 is not in 200..=250000"),
        ("--concurrency=", "invalid value ''"),
        ("--only depth", "possible values: concurrency, workers"),
        ("--store memory --only due", "--store sqlite or --store postgres"),
        ("--store memory --only history --history 1", "needs a store with tables"),
    ] {
        let complaint = refused(&format!("scale {line}"));
        assert!(complaint.contains(why), "{line}: {complaint}");
    }
}
