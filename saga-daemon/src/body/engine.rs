//! The engine itself: definitions, workers, breakers, health.

use saga_core::store::WorkerRow;
use saga_core::{DefinitionRef, DefinitionSpec, Timestamp, WorkerId};
use saga_worker::BreakerView;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The definitions that living workers know.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = DefinitionList)]
pub struct DefinitionsBody {
    /// By name and version.
    pub definitions: Vec<DefinitionBody>,
}

/// A definition.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Definition)]
pub struct DefinitionBody {
    /// Its name.
    pub name: String,
    /// Its version.
    #[schema(format = Int64, maximum = 4_294_967_295_i64)]
    pub version: u32,
    /// Digest of its structure, in hexadecimal.
    pub digest: String,
    /// How many living workers know it.
    pub workers: usize,
    /// How long after its start a saga turns backward, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Its steps with their policies.
    #[schema(value_type = Vec<Object>)]
    pub steps: Vec<Value>,
}

impl DefinitionBody {
    /// A definition as this many workers know it.
    pub fn new(spec: &DefinitionSpec, workers: usize) -> Self {
        let step = |step| serde_json::to_value(step).unwrap_or_default();
        Self {
            name: spec.name.clone(),
            version: spec.version,
            digest: spec.digest().to_string(),
            workers,
            deadline_ms: spec.deadline_ms,
            steps: spec.steps.iter().map(step).collect(),
        }
    }
}

/// The workers on record.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WorkerList)]
pub struct WorkersBody {
    /// Also those whose lease has run out and that nobody has cleared away.
    pub workers: Vec<WorkerBody>,
}

/// A worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Worker)]
pub struct WorkerBody {
    /// Its identity.
    #[schema(value_type = String, format = "uuid")]
    pub id: WorkerId,
    /// Its name for people.
    pub name: String,
    /// When its lease runs out, by the store's clock.
    #[schema(value_type = i64)]
    pub lease_until: Timestamp,
    /// Whether it has run out.
    pub expired: bool,
    /// The definitions it knows, such as `place-order v2`.
    pub definitions: Vec<String>,
}

impl From<WorkerRow> for WorkerBody {
    fn from(row: WorkerRow) -> Self {
        Self {
            id: row.card.id,
            name: row.card.name,
            lease_until: row.lease_until,
            expired: row.expired,
            definitions: row.card.definitions.iter().map(DefinitionRef::to_string).collect(),
        }
    }
}

/// The breakers of this daemon's worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = BreakerList)]
pub struct BreakersBody {
    /// One per participant and direction, from its first call on.
    pub breakers: Vec<BreakerBody>,
}

/// A breaker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Breaker)]
pub struct BreakerBody {
    /// The participant it guards.
    pub participant: String,
    /// The direction: `action` or `compensation`.
    pub op: String,
    /// `closed`, `open`, `half_open` or `releasing`.
    #[schema(value_type = String)]
    pub state: Value,
    /// Until when no call passes, while it is open.
    #[schema(value_type = Option<i64>)]
    pub open_until: Option<Timestamp>,
}

impl From<BreakerView> for BreakerBody {
    fn from(view: BreakerView) -> Self {
        let state = serde_json::to_value(view.state).unwrap_or_default();
        let BreakerView { participant, op, open_until, .. } = view;
        Self { participant, op: op.to_string(), state, open_until }
    }
}

/// How the daemon is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Health)]
pub struct HealthBody {
    /// `ok`.
    pub status: String,
    /// The release.
    pub release: String,
}

impl Default for HealthBody {
    fn default() -> Self {
        Self { status: "ok".to_owned(), release: env!("CARGO_PKG_VERSION").to_owned() }
    }
}
