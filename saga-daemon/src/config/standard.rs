//! The environment variables of OpenTelemetry that settings may come from as well.

use std::collections::BTreeMap;

use super::{Faults, Setting, settings::SETTINGS};

/// A variable, the setting that it stands for, and the unit that its number is in.
const STANDARD: [(&str, &str, &str); 8] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint", ""),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otlp.traces_endpoint", ""),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "otlp.metrics_endpoint", ""),
    ("OTEL_EXPORTER_OTLP_HEADERS", "otlp.headers", ""),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "otlp.timeout", "ms"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "otlp.interval", "ms"),
    ("OTEL_TRACES_SAMPLER_ARG", "otlp.ratio", ""),
    ("OTEL_SERVICE_NAME", "otlp.service_name", ""),
];
/// What a signal has to say to go nowhere.
const NONE: &str = "none";

/// What those variables say, in the order in which later ones cover earlier ones.
pub(super) fn read(
    environment: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Vec<(&'static Setting, String, &'static str)> {
    let set = |name: &str| environment.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let mut found = Vec::new();
    let mut find = |key: &str, value: String, name: &'static str| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        found.push((setting.expect("the keys here are settings"), value, name));
    };
    for (name, key, unit) in STANDARD {
        if let Some(text) = set(name) {
            find(key, format!("{text}{unit}"), name);
        }
    }
    for (name, key) in [
        ("OTEL_TRACES_EXPORTER", "otlp.traces_endpoint"),
        ("OTEL_METRICS_EXPORTER", "otlp.metrics_endpoint"),
    ] {
        if set(name) == Some(NONE) {
            find(key, NONE.to_owned(), name);
        }
    }
    if set("OTEL_SDK_DISABLED").is_some_and(|said| said.eq_ignore_ascii_case("true")) {
        for key in ["otlp.endpoint", "otlp.traces_endpoint", "otlp.metrics_endpoint"] {
            find(key, NONE.to_owned(), "OTEL_SDK_DISABLED");
        }
    }
    let endpoint = STANDARD[..3].iter().any(|(name, ..)| set(name).is_some());
    let other = set("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|said| *said != "http/protobuf");
    if let (true, Some(protocol)) = (endpoint, other) {
        faults.0.push(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol:?}: expected http/protobuf, which collectors take on port 4318"
        ));
    }
    found
}
