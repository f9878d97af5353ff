//! Commands to a saga and what became of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::SagaBody;

/// What a command says beside its name. `step` and `assume` are for `skip` alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Command)]
pub struct CommandBody {
    /// Why: 1 to 1024 bytes, kept in the log.
    #[schema(min_length = 1, max_length = 1024)]
    pub reason: String,
    /// Who asks, in their own words. Whose API key it is, is kept beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// `skip`: the step's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `skip`: what to take for granted: `{"processed": <output>}`, `"no_effect"`, `"compensated"`
    /// or `"effect_remains"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub assume: Option<Value>,
}

/// What became of a command, and the saga after it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = CommandResult)]
pub struct CommandResultBody {
    /// The request id under which it can be repeated without further effect.
    pub request_id: String,
    /// Whether it has been carried out. `false`: it is on record and will be, by the worker that
    /// takes the saga up.
    pub carried_out: bool,
    /// The saga.
    pub saga: SagaBody,
}
