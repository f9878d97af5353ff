//! Names of the HTTP headers that engine and participants exchange, in lower case, as HTTP libraries
//! want them.

/// Request: the key that is the same for every attempt of one action, and another one for its
/// compensation. Its value is
/// [`CallIdentity::idempotency_key`](crate::CallIdentity::idempotency_key).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Request: the id of the saga; equal to `saga_id` in the body.
pub const SAGA_ID: &str = "x-saga-id";

/// Request: the name of the step; equal to `step` in the body.
pub const SAGA_STEP: &str = "x-saga-step";

/// Request: `action` or `compensation`, see [`Op`](crate::Op).
pub const SAGA_OP: &str = "x-saga-op";

/// Request: the number of the attempt, from 1; equal to `attempt` in the body.
pub const SAGA_ATTEMPT: &str = "x-saga-attempt";

/// Request: the W3C trace context of the attempt; optional.
pub const TRACEPARENT: &str = "traceparent";

/// Response: `recorded` when the answer is recorded under the idempotency key in the participant's
/// own transaction, so that it holds for every attempt under this key, earlier or late.
pub const SAGA_BARRIER: &str = "x-saga-barrier";

/// The only value of [`SAGA_BARRIER`].
pub const RECORDED: &str = "recorded";

/// Response: how many seconds to wait before the next attempt, beside a status 425, 429 or 503.
pub const RETRY_AFTER: &str = "retry-after";
