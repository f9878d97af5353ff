//! What a saga waits for as far as its own log cannot tell: a worker that knows its definition.

use saga_core::WaitReason;
use saga_core::store::{SagaRow, StoreError};

use super::Client;

impl Client {
    /// The wait reason of a saga, given the one that its log gives.
    ///
    /// A saga in the hands of a worker that has died waits for another one, whatever its log says
    /// of calls in flight. If none that is alive knows its definition, that is what it waits for.
    pub(super) async fn wait_for_knowledge(
        &self,
        row: &SagaRow,
        by_its_log: WaitReason,
    ) -> Result<WaitReason, StoreError> {
        match by_its_log {
            WaitReason::Worker { .. } | WaitReason::InFlight { .. } if !self.drives(row) => {}
            // For a time, a person, or a call that this process is making.
            other => return Ok(other),
        }
        let workers = match self.store.workers().await {
            Err(StoreError::Corrupt(why)) => {
                tracing::error!(saga_id = %row.id, why, "cannot tell who knows its definition");
                return Ok(by_its_log);
            }
            workers => workers?,
        };
        let alive = || workers.iter().filter(|worker| !worker.expired).map(|worker| &worker.card);
        let owned = alive().any(|card| row.owner == Some(card.id));
        if owned || alive().any(|card| card.definitions.contains(&row.definition)) {
            return Ok(by_its_log);
        }
        let wanted = &row.definition;
        let known_as = alive()
            .flat_map(|card| &card.definitions)
            .find(|known| (&known.name, known.version) == (&wanted.name, wanted.version))
            .map(|known| known.digest);
        Ok(WaitReason::Definition { definition: wanted.clone(), known_as })
    }

    /// Whether the worker of this process drives it, which needs no look at the store.
    fn drives(&self, row: &SagaRow) -> bool {
        let tenure = self.runtime.upgrade().and_then(|runtime| runtime.tenure());
        tenure.is_some_and(|tenure| row.owner == Some(tenure.worker))
    }
}
