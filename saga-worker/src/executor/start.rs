//! A saga started by its own worker: the first intents share the first log row.

use saga_core::store::{NewSaga, StartOutcome, Store, StoreError};
use saga_core::{Digest, Event, Saga, SagaId, Timestamp, WorkerId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::persist::summary;
use super::{Executor, Launch};

/// Seals the first row of a saga; without an owner it is left to whoever claims it.
pub(crate) fn new_saga(
    saga: &mut Saga,
    now: Timestamp,
    events: &[Event],
    owner: Option<WorkerId>,
) -> NewSaga {
    let first = saga.seal(0, now, events);
    NewSaga {
        id: saga.id(),
        definition: saga.started().definition.clone(),
        key: saga.started().key.clone(),
        input_digest: Digest::of(&[saga.started().input.as_json().as_bytes()]),
        first,
        summary: summary(saga, now, owner.is_none()),
        owner,
    }
}

/// Where the id of a new saga comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identity {
    /// Made for this one start.
    Made(SagaId),
    /// Chosen by the caller, who may have used it before.
    Chosen(SagaId),
}

impl Identity {
    pub(crate) fn saga(self) -> SagaId {
        match self {
            Self::Made(id) | Self::Chosen(id) => id,
        }
    }
}

/// Stores a new saga. What exists under an id that was made for this start was created by an earlier
/// try of this very start, whose outcome the store itself did not learn.
pub(crate) async fn store_new(
    store: &dyn Store,
    new: NewSaga,
    identity: Identity,
) -> Result<StartOutcome, StoreError> {
    match (store.start(new).await?, identity) {
        (StartOutcome::Existing { id, .. }, Identity::Made(ours)) if id == ours => {
            Ok(StartOutcome::Created)
        }
        (outcome, _) => Ok(outcome),
    }
}

/// Plans the first calls, stores the saga, tells the outcome, and drives the saga if it was new.
pub(crate) async fn run_from_start(
    mut executor: Executor,
    identity: Identity,
    (now, mut events): (Timestamp, Vec<Event>),
    permit: OwnedSemaphorePermit,
    told: oneshot::Sender<Result<StartOutcome, StoreError>>,
) {
    let runtime = executor.runtime.clone();
    let stored = executor.store_first(identity, now, &mut events).await;
    // Whoever asked may have gone away; a saga that was stored is driven all the same.
    let tell = |outcome| drop(told.send(outcome));
    let (outcome, launches) = match stored {
        Ok(stored) => stored,
        Err(error) => {
            // It may have been stored all the same, under our name.
            drop(executor);
            runtime.look_for_strays();
            return tell(Err(error));
        }
    };
    tell(Ok(outcome));
    if outcome != StartOutcome::Created {
        if let Identity::Chosen(_) = identity {
            // It may be of this very start: stored in our name at a try whose outcome was lost.
            drop(executor);
            runtime.look_for_strays();
        }
        return;
    }
    runtime.telemetry.started(&executor.saga);
    executor.tell(now, &events);
    let _permit = permit;
    executor.launch(launches);
    executor.run(Vec::new()).await;
}

impl Executor {
    /// Stores the first row of the saga, with the intents of the calls it returns.
    async fn store_first(
        &mut self,
        identity: Identity,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<(StartOutcome, Vec<Launch>), StoreError> {
        self.at = now;
        let launches = self
            .plan(events)
            .map_err(|error| StoreError::Corrupt(format!("a new saga is not a saga: {error}")))?;
        let owner = Some(self.tenure.worker);
        let new = new_saga(&mut self.saga, now, events, owner);
        let outcome = store_new(self.runtime.store.as_ref(), new, identity).await?;
        Ok((outcome, launches))
    }
}
