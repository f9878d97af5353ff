//! Webhooks, as the API shows them.

use saga_core::SagaId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::webhooks::{State, Webhook};

/// The webhooks of a daemon.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookList)]
pub struct WebhooksBody {
    /// By name.
    pub webhooks: Vec<WebhookBody>,
}

/// A webhook and how it stands.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// Its name.
    pub name: String,
    /// Where deliveries go; its path and query are not shown, for they may be what lets in.
    pub url: String,
    /// What it is told of.
    pub events: Vec<String>,
    /// Only sagas of these definitions; empty for all.
    pub definitions: Vec<String>,
    /// Whether deliveries are signed.
    pub signed: bool,
    /// Why nothing is sent, if it is switched off.
    pub off: Option<String>,
    /// Since when it is switched off, in microseconds since 1970.
    pub off_since: Option<i64>,
    /// Since when nothing could be delivered, in microseconds since 1970.
    pub failing_since: Option<i64>,
    /// Deliveries that were taken.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Deliveries that were given up.
    pub lost: u64,
    /// Deliveries that failed and are to be tried again.
    pub waiting: u64,
    /// What went wrong last, until something is delivered.
    pub last_error: Option<String>,
    /// Everything up to this place in the feed was delivered or waits. Null: it has not begun.
    pub cursor: Option<String>,
}

impl WebhookBody {
    /// A webhook; without a state it has not begun.
    pub(crate) fn new(hook: &Webhook, state: Option<&State>) -> Self {
        let micros = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let none = State::default();
        let known = state.unwrap_or(&none);
        Self {
            name: hook.name.clone(),
            url: hook.shown_url(),
            events: hook.events.iter().map(ToString::to_string).collect(),
            definitions: hook.definitions.iter().cloned().collect(),
            signed: !hook.secrets.is_empty(),
            off: known.off.as_ref().map(|off| off.why.clone()),
            off_since: known.off.as_ref().map(|off| micros(off.since_ms)),
            failing_since: known.failing_since_ms.map(micros),
            delivered: known.delivered,
            failed: known.failed,
            lost: known.lost,
            waiting: known.retries.len() as u64,
            last_error: known.last_error.clone(),
            cursor: state.map(|state| state.cursor.clone()),
        }
    }
}

/// What an operator asks of a webhook.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookCommand)]
pub struct WebhookCommandBody {
    /// Why: 1 to 1024 bytes, kept in the daemon's log.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// `replay`: deliver the verdict, and that it was stuck, of this saga once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub saga_id: Option<SagaId>,
    /// `replay`: go on from here: a cursor of the feed, `beginning` or `now`. What was delivered
    /// after it is delivered once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
