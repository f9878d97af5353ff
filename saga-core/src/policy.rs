//! Pure arithmetic of retries, breakers and rollouts: jitter and `now` come in as arguments.

pub(crate) mod breaker;
pub(crate) mod retry;
pub(crate) mod rollout;
