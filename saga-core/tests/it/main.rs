//! Tests of the public interface, as a user of the crate sees it.

mod breaker;
mod difference;
mod extraction;
mod rollout;
mod wire_format;
