//! Registers in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::store::{Register, Registers, StoreError};

#[async_trait]
impl Registers for MemoryStore {
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError> {
        Ok(self.state().registers.get(name).cloned())
    }

    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError> {
        let state = self.state();
        let found = state.registers.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, register)| (name.clone(), register.clone())).collect())
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError> {
        let registers = &mut self.state().registers;
        if registers.get(name).map_or(0, |register| register.version) != expected {
            return Ok(false);
        }
        let register = Register { version: expected + 1, value: value.to_owned() };
        registers.insert(name.to_owned(), register);
        Ok(true)
    }

    async fn remove_register(&self, name: &str) -> Result<(), StoreError> {
        self.state().registers.remove(name);
        Ok(())
    }
}
