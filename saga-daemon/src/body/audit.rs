//! The audit trail, as the API shows it.

use saga_core::store::AuditEntry;
use saga_core::{AuditId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Something that somebody has done through the API, or was refused.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct AuditEntryBody {
    /// Its identity. Ids are in the order of time.
    #[schema(value_type = String, format = "uuid")]
    pub id: AuditId,
    /// When it was asked for, to the millisecond.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// The id of the API key; `anonymous` where none is asked for.
    pub actor: String,
    /// The role of the key.
    pub role: String,
    /// The address that the request came from: that of a proxy, if there is one.
    pub remote: Option<String>,
    /// What, such as `saga.stop`, `bulk.retry` or `webhook.replay`.
    pub action: String,
    /// To what: the id of a saga or a bulk, the name of a webhook or a definition.
    pub target: Option<String>,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// The idempotency key: the same in the log of the saga.
    pub request_id: Option<String>,
    /// What else was asked for, such as the filter of a bulk.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Value>,
    /// The status of the answer. Without one it is under way, or the daemon did not live to tell.
    pub status: Option<u16>,
    /// The last part of the problem's type, if the answer was one.
    pub problem: Option<String>,
    /// When it was answered.
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
}

impl From<AuditEntry> for AuditEntryBody {
    fn from(entry: AuditEntry) -> Self {
        let at = entry.id.at();
        let AuditEntry { id, actor, role, remote, action, target, reason, request_id, .. } = entry;
        // What is no JSON is shown as the text that it is.
        let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let detail = entry.detail.map(json);
        let status = entry.outcome.as_ref().map(|outcome| outcome.status);
        let ended_at = entry.outcome.as_ref().map(|outcome| outcome.at);
        let problem = entry.outcome.and_then(|outcome| outcome.problem);
        Self {
            id,
            at,
            actor,
            role,
            remote,
            action,
            target,
            reason,
            request_id,
            detail,
            status,
            problem,
            ended_at,
        }
    }
}

/// A page of the audit trail, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditList)]
pub struct AuditListBody {
    /// The entries of this page.
    pub entries: Vec<AuditEntryBody>,
    /// The `before` of the next page, unless this is the last.
    #[schema(value_type = Option<String>)]
    pub next: Option<AuditId>,
}
