//! One request to a collector.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{StatusCode, Url};

use super::OtlpConfig;

/// Longest pause that a collector may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The way to one endpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    url: Url,
}

/// A collector did not take what it was sent.
#[derive(Debug)]
pub(super) struct NotTaken {
    pub(super) why: String,
    /// When to try again; `None` when that would not help.
    pub(super) again: Option<Option<Duration>>,
}

impl Sender {
    pub(super) fn new(url: &Url, config: &OtlpConfig) -> Result<Self, reqwest::Error> {
        // Only the first installation in a process counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = config.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let mut client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if url.scheme() == "http" {
            // No https from here, so the system's roots need not be read.
            client = client.tls_certs_only(std::iter::empty());
        }
        Ok(Self { client: client.build()?, url: url.clone() })
    }

    pub(super) async fn send(&self, body: Vec<u8>) -> Result<(), NotTaken> {
        let response = self.client.post(self.url.clone()).body(body).send().await;
        let response = response.map_err(|error| {
            let cause =
                std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
            let cause = cause.last().map(ToString::to_string).unwrap_or_default();
            NotTaken { why: format!("no answer from the collector: {cause}"), again: Some(None) }
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let later = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let again = later.then(|| asked.map(|asked| asked.min(RETRY_AFTER_MAX)));
        Err(NotTaken { why: format!("the collector answered {status}"), again })
    }
}
