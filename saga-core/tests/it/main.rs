//! Tests of the public interface, as a user of the crate sees it.

mod breaker;
mod extraction;
mod wire_format;
