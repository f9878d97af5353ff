//! A saga started by its own worker: the first intents share the first log row.

use saga_core::store::{NewSaga, StartOutcome, Store, StoreError};
use saga_core::{Digest, Event, Saga, Timestamp, WorkerId};
use tokio::sync::OwnedSemaphorePermit;

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

/// Stores a new saga. An id is made for one start, so what exists under it was created by an
/// earlier try of this very start, whose outcome the store itself did not learn.
pub(crate) async fn store_new(store: &dyn Store, new: NewSaga) -> Result<StartOutcome, StoreError> {
    let ours = new.id;
    match store.start(new).await? {
        StartOutcome::Existing { id, .. } if id == ours => Ok(StartOutcome::Created),
        outcome => Ok(outcome),
    }
}

/// Plans the first calls, stores the saga, and leaves it running if it was new.
pub(crate) async fn run_from_start(
    mut executor: Executor,
    now: Timestamp,
    mut events: Vec<Event>,
    permit: OwnedSemaphorePermit,
) -> Result<StartOutcome, StoreError> {
    let runtime = executor.runtime.clone();
    executor.at = now;
    let launches = executor
        .plan(&mut events)
        .map_err(|error| StoreError::Corrupt(format!("a new saga is not a saga: {error}")))?;
    let owner = Some(executor.tenure.worker);
    let new = new_saga(&mut executor.saga, now, &events, owner);
    let outcome = store_new(runtime.store.as_ref(), new).await;
    if outcome == Ok(StartOutcome::Created) {
        runtime.telemetry.started(&executor.saga);
        runtime.executors.spawn(async move {
            let _permit = permit;
            executor.run_started(launches).await;
        });
        return outcome;
    }
    drop(executor);
    if outcome.is_err() {
        // It may have been stored all the same, under our name.
        runtime.look_for_strays();
    }
    outcome
}

impl Executor {
    /// Goes on with a saga whose first row, with the intents of `launches`, has just become durable.
    async fn run_started(mut self, launches: Vec<Launch>) {
        self.launch(launches);
        self.run(Vec::new()).await;
    }
}
