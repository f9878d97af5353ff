//! Commands in bulk, as the API shows them.

use std::collections::BTreeMap;

use saga_core::{SagaId, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::bulk::{Bulk, Counts};

/// A command for every saga that a filter matches.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkCommand)]
pub struct BulkCommandBody {
    /// Why: 1 to 1024 bytes, kept in the log of every saga.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// Who asks, in their own words. Whose API key it is, is kept beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Which sagas are meant. One that matches every saga has to say `all`.
    pub filter: BulkFilterBody,
    /// Give no command; count and show what would get one.
    #[serde(default)]
    pub dry_run: bool,
    /// Sagas for each second, from 1 to 1000. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub rate: Option<u32>,
    /// `skip`: the step's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `skip`: what to take for granted, as in the command to one saga.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub assume: Option<Value>,
}

/// Which sagas are meant, as in a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = BulkFilter)]
pub struct BulkFilterBody {
    /// Only these statuses.
    #[schema(value_type = Vec<String>)]
    pub status: Vec<Status>,
    /// Only this definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only this version of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Int64, maximum = 4_294_967_295_i64)]
    pub version: Option<u32>,
    /// Only sagas that wait at this step, or are stuck there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Only idempotency keys that begin like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Only with this text in id, definition, key or the reason why they wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only sagas started at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_after: Option<i64>,
    /// Only sagas started before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_before: Option<i64>,
    /// Every saga there is, alive or not.
    pub all: bool,
}

/// A command in bulk and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Bulk)]
pub struct BulkBody {
    /// Its id; empty for a dry run.
    pub id: String,
    /// The command.
    pub command: String,
    /// `running`, `done`, `cancelled` or `dry_run`.
    pub state: String,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// Sagas that matched so far. What a crash interrupted is counted again.
    pub matched: u64,
    /// Of them, carried out.
    pub accepted: u64,
    /// Of them, on record, and no worker has answered yet.
    pub unanswered: u64,
    /// Of them, refused, by the reason.
    pub refused: BTreeMap<String, u64>,
    /// Some of the sagas that would get it; of a dry run alone.
    #[schema(value_type = Vec<String>)]
    pub sample: Vec<SagaId>,
    /// Whether there are more than a dry run has looked at.
    pub more: bool,
}

impl BulkBody {
    /// A bulk on record.
    pub(crate) fn new(bulk: &Bulk) -> Self {
        let micros = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let Counts { matched, accepted, unanswered, refused } = bulk.counts.clone();
        Self {
            id: bulk.id.clone(),
            command: bulk.action.verb().to_owned(),
            state: word(serde_json::to_value(bulk.phase).unwrap_or_default()),
            actor: bulk.actor.clone(),
            reason: bulk.reason.clone(),
            started_at: micros(bulk.started_ms),
            ended_at: bulk.ended_ms.map(micros),
            matched,
            accepted,
            unanswered,
            refused,
            sample: Vec::new(),
            more: false,
        }
    }
}

/// The bulks on record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BulkList)]
pub struct BulksBody {
    /// The newest first.
    pub bulks: Vec<BulkBody>,
}
