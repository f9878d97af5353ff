//! The daemon: sagas for services in any language.
//!
//! [`declared`] reads definitions from YAML files, and [`outbound`] guards the calls they make.

pub mod declared;
pub mod outbound;
