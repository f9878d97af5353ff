//! Registers: small documents by name that several processes change, each knowing what it changes.

use async_trait::async_trait;

use super::StoreError;

/// What processes on one store agree on beside sagas, such as how far a webhook has come.
///
/// A register is changed by compare and set: whoever read an older version changes nothing.
#[async_trait]
pub trait Registers: Send + Sync + 'static {
    /// The register of this name, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError>;

    /// The registers whose names begin like this, by name.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError>;

    /// Sets a register that stands at version `expected`, 0 for one that is not there; its version
    /// is one more then. `false`: it stands elsewhere, and nothing was changed.
    ///
    /// When the outcome of a try is unknown to the store itself, it may try again and answer `false`
    /// although its first try has set it: whoever is told `false` reads again.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the register may have been set.
    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError>;

    /// Removes a register; no error when it is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails; the register may have been removed.
    async fn remove_register(&self, name: &str) -> Result<(), StoreError>;
}

/// A register as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// How often it has been set, from 1.
    pub version: u64,
    /// What is in it: text, JSON by custom.
    pub value: String,
}
