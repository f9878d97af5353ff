//! The JSON bodies of the API. All times are whole microseconds since 1970-01-01T00:00:00Z.

mod audit;
mod bulk;
mod command;
mod engine;
mod feed;
mod list;
mod log;
mod saga;
mod webhook;

use saga_core::Status;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

pub use audit::{AuditEntryBody, AuditListBody};
pub use bulk::{BulkBody, BulkCommandBody, BulkFilterBody, BulksBody};
pub use command::{CommandBody, CommandResultBody};
pub use engine::{
    BreakerBody, BreakersBody, DefinitionBody, DefinitionsBody, HealthBody, WorkerBody, WorkersBody,
};
pub use feed::{BeatBody, EnvelopeBody, TicketBody};
pub use list::{ListBody, SummaryBody};
pub use log::{EventBody, LogBody, TransitionBody};
pub use saga::{SagaBody, StepBody};
pub use webhook::{WebhookBody, WebhookCommandBody, WebhooksBody};

fn words<const N: usize>(words: [&str; N]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

fn status() -> Object {
    words(Status::ALL.map(Status::as_str))
}
