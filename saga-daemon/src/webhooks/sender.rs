//! One delivery: signed, sent, judged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use super::event::{Delivery, MEDIA_TYPE};
use super::{Webhook, Webhooks, guard, signature};

/// The longest wait that an endpoint may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Most characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 200;

/// What became of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// A status of 2xx.
    Delivered,
    /// Anything else but the next, with why and the wait that was asked for.
    Failed { why: String, wait: Option<Duration> },
    /// 410: nobody wants deliveries there any more.
    Gone,
}

/// Sends for one webhook.
#[derive(Debug)]
pub(super) struct Sender {
    client: reqwest::Client,
    keys: Vec<Vec<u8>>,
}

impl Sender {
    /// # Errors
    /// In words: a secret that is not there any more, or no certificates to trust.
    pub(super) fn new(hook: &Webhook, hooks: &Webhooks) -> Result<Self, String> {
        let guard = guard(&hooks.allowed, &hook.url).map_err(|error| error.to_string())?;
        let client = guard.client().map_err(|error| error.to_string())?;
        let keys = hook.secrets.iter().map(|name| signature::key(&hooks.secrets, name));
        Ok(Self { client, keys: keys.collect::<Result<_, _>>()? })
    }

    pub(super) async fn send(&self, hook: &Webhook, delivery: &Delivery) -> Sent {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = self
            .client
            .post(hook.url.clone())
            .timeout(hook.timeout)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", now)
            .body(delivery.body.clone());
        if !self.keys.is_empty() {
            let signed = signature::sign(&self.keys, &delivery.id, now, &delivery.body);
            request = request.header("webhook-signature", signed);
        }
        // Of the answer only the head is looked at; its body is not read.
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Sent::Delivered,
            Ok(answer) if answer.status() == StatusCode::GONE => Sent::Gone,
            Ok(answer) => {
                let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let wait = asked.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
                Sent::Failed {
                    why: format!("answered {}", answer.status()),
                    wait: wait.map(|wait| wait.min(RETRY_AFTER_MAX)),
                }
            }
            Err(error) => Sent::Failed { why: describe(&error), wait: None },
        }
    }
}

/// What went wrong, without the URL, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let why = match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false if std::ptr::addr_eq(cause, error) => "the request failed".to_owned(),
        false => cause.to_string(),
    };
    why.chars().take(ERROR_CHARS_MAX).collect()
}
