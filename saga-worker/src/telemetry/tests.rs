use super::*;

/// The table in the documentation above, as lines of cells.
fn documented() -> Vec<Vec<String>> {
    let lines =
        include_str!("../telemetry.rs").lines().filter_map(|line| line.strip_prefix("//! |"));
    let rows = lines.map(|line| line.split('|').map(|cell| cell.trim().replace('`', "")).collect());
    rows.filter(|row: &Vec<String>| row.len() == 6 && row[0].starts_with("saga.")).collect()
}

#[test]
fn the_table_names_every_metric_as_it_is() {
    let in_code: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let attributes = match metric.attributes {
                [] => "none".to_owned(),
                attributes => attributes.join(", "),
            };
            let about = metric.about.replace('`', "");
            vec![metric.name.into(), kind, metric.unit.into(), attributes, about, String::new()]
        })
        .collect();
    assert_eq!(documented(), in_code);
}

#[test]
fn prometheus_reads_units_and_counters_at_the_end_of_a_name() {
    assert_eq!(STARTS.prometheus(), "saga_starts_total");
    assert_eq!(VERDICT_DURATION.prometheus(), "saga_verdict_duration_seconds");
    assert_eq!(COMMIT_SIZE.prometheus(), "saga_commit_size");
    assert_eq!(DUE_AGE.prometheus(), "saga_due_age_seconds");
}
