//! Pure arithmetic of retries and breakers: jitter and `now` come in as arguments.

pub(crate) mod breaker;
pub(crate) mod retry;
