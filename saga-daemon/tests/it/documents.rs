//! The documents, health and metrics.

use saga_daemon::Metrics;
use saga_worker::telemetry::{METRICS, Metric};

use crate::support::{World, memory};

#[tokio::test]
async fn the_document_and_the_page_are_served() {
    let world = World::new().await;
    let document = world.api.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.body["openapi"], "3.1.0");
    let page = world.api.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(page.raw.contains("/v1/sagas/{id}/events"));
}

#[tokio::test]
async fn a_view_has_exactly_the_fields_that_its_schema_names() {
    let world = World::new().await;
    let id = world.start(1, "declined").await;
    let view = world.until(&id, "compensated").await;
    let schemas = &world.api.document()["components"]["schemas"];
    for (schema, value) in [("Saga", &view.body), ("Step", &view.body["steps"][0])] {
        let documented: Vec<_> =
            schemas[schema]["properties"].as_object().unwrap().keys().collect();
        let sent: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(documented, sent, "{schema}");
    }
}

#[tokio::test]
async fn metrics_count_sagas_steps_and_requests() {
    let metrics = Metrics::new().unwrap();
    metrics.install_globally();
    let world = World::with(memory(), |builder| builder.metrics(metrics)).await;
    let id = world.start(1, "declined").await;
    world.until(&id, "compensated").await;
    let metrics = world.api.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for line in [
        "saga_sagas{saga_status=\"compensated\"} 1",
        "saga_ready 1",
        "saga_store_reachable 1",
        "saga_sagas_stuck{reason=\"pivot_unknown\"} 0",
        "saga_due 0",
        "saga_due_age_seconds 0",
        "saga_inbox 0",
        "saga_driven_max 512",
        "saga_breaker_state{",
        "saga_telemetry_dropped_total{signal=\"traces\"} 0",
        "saga_starts_total{saga_name=\"place-order\"}",
        "saga_verdicts_total{",
        "saga_verdict_duration_seconds_bucket{",
        "saga_attempt_duration_seconds_count{",
        "saga_http_request_duration_seconds_bucket{operation=\"start\",status=\"201\",le=\"1\"}",
    ] {
        assert!(metrics.raw.contains(line), "{line} is not in\n{}", metrics.raw);
    }
    let known: Vec<_> = METRICS.iter().map(Metric::prometheus).collect();
    for line in metrics.raw.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(known.iter().any(|known| known == name), "{name} is not in the table of metrics");
    }
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    let (keys, _) = crate::support::keys();
    let world = World::with(memory(), |builder| builder.keys(keys)).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.api.get(path).await.body["status"], "ok");
    }
    assert_eq!(world.api.get("/metrics").await.status, 401);
}
