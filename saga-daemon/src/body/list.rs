//! Lists of sagas.

use std::collections::BTreeMap;

use saga_core::store::SagaRow;
use saga_core::{IdempotencyKey, SagaId, Status, Timestamp, Wait, WorkerId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status;

/// One line of a list of sagas.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaSummary)]
pub struct SummaryBody {
    /// Its identity.
    #[schema(value_type = String, format = "uuid")]
    pub id: SagaId,
    /// The name of its definition.
    pub name: String,
    /// The version of its definition.
    #[schema(format = Int64, maximum = 4_294_967_295_i64)]
    pub version: u32,
    /// The key under which it was started.
    #[schema(value_type = Option<String>)]
    pub key: Option<IdempotencyKey>,
    /// Where it stands.
    #[schema(schema_with = status)]
    pub status: Status,
    /// Position of its last transition.
    pub seq: u64,
    /// When it was started.
    #[schema(value_type = i64)]
    pub started_at: Timestamp,
    /// When it got its verdict.
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
    /// What it waits for, unless a worker is busy with it.
    #[schema(value_type = Option<Object>)]
    pub wait: Option<Wait>,
    /// The worker that drives it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<WorkerId>,
}

impl From<SagaRow> for SummaryBody {
    fn from(row: SagaRow) -> Self {
        Self {
            id: row.id,
            name: row.definition.name,
            version: row.definition.version,
            key: row.key,
            status: row.summary.status,
            seq: row.seq,
            started_at: row.started_at,
            ended_at: row.summary.ended_at,
            wait: row.summary.wait.map(Wait::from),
            owner: row.owner,
        }
    }
}

/// A page of sagas, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SagaList)]
pub struct ListBody {
    /// The sagas of this page.
    pub sagas: Vec<SummaryBody>,
    /// How many sagas of the whole store stand where, every status listed.
    pub counts: BTreeMap<String, u64>,
    /// The `before` of the next page, unless this is the last.
    #[schema(value_type = Option<String>)]
    pub next: Option<SagaId>,
}
