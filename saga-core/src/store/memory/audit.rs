//! The audit trail in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::MemoryStore;
use crate::id::AuditId;
use crate::store::{Audit, AuditEntry, AuditOutcome, AuditQuery, StoreError};

#[async_trait]
impl Audit for MemoryStore {
    async fn record_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.state().audit.entry(entry.id).or_insert_with(|| entry.clone());
        Ok(())
    }

    async fn settle_audit(&self, id: AuditId, outcome: &AuditOutcome) -> Result<(), StoreError> {
        if let Some(entry) = self.state().audit.get_mut(&id) {
            entry.outcome.get_or_insert_with(|| outcome.clone());
        }
        Ok(())
    }

    async fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let state = self.state();
        let (first, end) = query.ids();
        let newest_first = state.audit.values().rev();
        let matching = newest_first.filter(|entry| {
            (first..end).contains(&entry.id)
                && query.actor.as_ref().is_none_or(|actor| entry.actor == *actor)
                && query.action.as_ref().is_none_or(|action| entry.action == *action)
                && query.target.as_ref().is_none_or(|target| entry.target.as_ref() == Some(target))
        });
        Ok(matching.take(query.page() as usize).cloned().collect())
    }

    async fn forget_audit(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let now = self.clock.now();
        let audit = &mut self.state().audit;
        let old = audit.keys().filter(|id| now.since(id.at()) > age);
        let old: Vec<_> = old.take(limit as usize).copied().collect();
        for id in &old {
            audit.remove(id);
        }
        Ok(u32::try_from(old.len()).unwrap_or(limit))
    }
}
