//! The settings of the export of telemetry.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use saga_worker::telemetry::TraceRatio;

use super::{MASKED, Reader, list};
use crate::otlp::OtlpConfig;

/// Says that telemetry goes nowhere, although something below would send it somewhere.
const NOWHERE: &str = "none";

impl Reader<'_> {
    pub(super) fn otlp(&mut self) -> OtlpConfig {
        let below = self.collector("otlp.endpoint");
        let signal = |reader: &mut Self, key: &str, path: &str| match reader.text(key).as_str() {
            "" => below.clone().map(|mut url| {
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}{path}"));
                url
            }),
            _ => reader.collector(key),
        };
        OtlpConfig {
            traces: signal(self, "otlp.traces_endpoint", "/v1/traces"),
            metrics: signal(self, "otlp.metrics_endpoint", "/v1/metrics"),
            headers: self.headers(),
            timeout: self.duration("otlp.timeout", Duration::from_millis(1)),
            interval: self.duration("otlp.interval", Duration::from_millis(100)),
            ratio: self.ratio(),
            service_name: self.text("otlp.service_name"),
        }
    }

    fn collector(&mut self, key: &str) -> Option<Url> {
        let text = self.text(key);
        if matches!(text.as_str(), "" | NOWHERE) {
            return None;
        }
        let url = Url::parse(&text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none()
        });
        if url.is_none() {
            self.fault(key, "a URL such as http://127.0.0.1:4318, without a password, or none");
        }
        url
    }

    fn ratio(&mut self) -> TraceRatio {
        self.text("otlp.ratio").parse().unwrap_or_else(|_| {
            self.fault("otlp.ratio", "a number from 0 (none) to 1 (all)");
            TraceRatio::default()
        })
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for pair in list(&self.text("otlp.headers")) {
            let header = pair.split_once('=').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                let mut value = HeaderValue::from_str(&decode(value.trim())?).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            });
            match header {
                Some((name, value)) => drop(headers.insert(name, value)),
                None => self.fault(
                    "otlp.headers",
                    "name=value, separated by commas, values percent-encoded",
                ),
            }
        }
        headers
    }
}

/// The names of headers, without what they carry.
pub(super) fn mask_headers(text: &str) -> String {
    let masked = list(text).into_iter().map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}={MASKED}"),
        None => MASKED.to_owned(),
    });
    masked.collect::<Vec<_>>().join(",")
}

/// Percent-decodes a value.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let pair = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::gather;
    use super::super::{Config, Faults};

    fn read(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Faults> {
        gather(None, environment, flags).and_then(|values| values.read())
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        let otlp = read(&[], &[]).unwrap().otlp;
        assert!(otlp.traces.is_none() && otlp.metrics.is_none());
        assert_eq!(otlp.service_name, "saga-worker");
    }

    #[test]
    fn the_standard_variables_are_read_and_settings_of_our_own_cover_them() {
        let standard = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics.example/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hush,x-tenant=shop"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_SERVICE_NAME", "orders"),
            ("SAGA_OTLP__RATIO", "0.5"),
        ];
        let otlp = read(&standard, &[]).unwrap().otlp;
        assert_eq!(otlp.traces.unwrap().as_str(), "http://collector:4318/base/v1/traces");
        assert_eq!(otlp.metrics.unwrap().as_str(), "https://metrics.example/x");
        assert_eq!(otlp.headers["authorization"], "Bearer hush");
        assert_eq!(otlp.headers["x-tenant"], "shop");
        assert_eq!((otlp.timeout.as_millis(), otlp.interval.as_millis()), (1_500, 5_000));
        assert_eq!(
            (otlp.ratio.to_string().as_str(), otlp.service_name.as_str()),
            ("0.5", "orders")
        );
    }

    #[test]
    fn it_can_be_turned_off_as_a_whole_and_by_signal() {
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let off = read(&[on, ("OTEL_SDK_DISABLED", "true")], &[]).unwrap().otlp;
        assert!(off.traces.is_none() && off.metrics.is_none());
        let half = read(&[on, ("OTEL_METRICS_EXPORTER", "none")], &[]).unwrap().otlp;
        assert!(half.traces.is_some() && half.metrics.is_none());
        let flag = read(&[on], &[("otlp.traces_endpoint", "none")]).unwrap().otlp;
        assert!(flag.traces.is_none() && flag.metrics.is_some());
    }

    #[test]
    fn faults_name_the_setting_and_never_a_secret() {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush,a b=hush"),
        ];
        let text = read(&environment, &[("otlp.ratio", "7")]).unwrap_err().to_string();
        for part in ["`otlp.endpoint` is", "`otlp.headers` is", "`otlp.ratio` is"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("hush"), "{text}");
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), environment[0]];
        let text = read(&grpc, &[]).unwrap_err().to_string();
        assert!(text.contains("expected http/protobuf"), "{text}");
        let values = gather(None, &environment, &[]).unwrap();
        assert!(values.shown().all(|(_, value, _)| !value.contains("hush")));
    }
}
