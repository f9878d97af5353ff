//! Definitions for a worker that runs already.

use std::sync::Arc;

use saga_core::Definition;
use saga_core::store::{PublishError, StoreError};

use super::{Worker, card};
use crate::registry::{RegistryError, without_duplicates};
use crate::runtime::Runtime;

impl Worker {
    /// Registers definitions while the worker runs: all of them or, when one is refused, none.
    ///
    /// A new version serves new sagas at once, and this worker takes up sagas of it from the next
    /// claim on. A version that is known with the same structure is replaced: new sagas and those
    /// taken up later get the new policies and calls, and those under way keep the ones they have.
    /// What is registered stays so until the worker ends, so that sagas under way can finish.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use saga_core::{Definition, Failure, MemoryStore, Step};
    /// # use saga_worker::{SystemClock, Worker};
    /// # async fn work() -> Result<(), Failure> { Ok(()) }
    /// # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    /// let v1 = Definition::new("pay", [Step::pivot("capture", work)])?;
    /// let worker = Worker::builder(store).register(v1).start().await?;
    ///
    /// let v2 = Definition::builder("pay").version(2).step(Step::pivot("charge", work)).build()?;
    /// worker.register(vec![v2]).await?;
    /// let saga = worker.start("pay", &17).await?;
    /// assert_eq!(worker.view(saga.id).await?.unwrap().version, 2);
    ///
    /// let changed = Definition::new("pay", [Step::pivot("charge", work)])?;
    /// let refused = worker.register(vec![changed]).await.unwrap_err().to_string();
    /// assert!(refused.contains("pay v1") && refused.contains("give it a new version"), "{refused}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RegisterError`]; nothing is registered here then. After [`RegisterError::Store`] some may
    /// be on record.
    pub fn register(
        &self,
        definitions: Vec<Definition>,
    ) -> impl Future<Output = Result<(), RegisterError>> + Send + use<> {
        register(self.runtime.clone(), definitions)
    }
}

async fn register(
    runtime: Arc<Runtime>,
    definitions: Vec<Definition>,
) -> Result<(), RegisterError> {
    let known = without_duplicates(definitions)?;
    let store = runtime.store.as_ref();
    let mut changed = Vec::new();
    for definition in known.values() {
        let offered = definition.spec();
        let on_record = store.definition(&offered.name, offered.version).await?;
        if let Some(stored) = on_record.filter(|spec| spec.reference() != offered.reference()) {
            changed.push(PublishError::Changed {
                definition: offered.reference(),
                stored: Box::new(stored),
                offered: Box::new(offered.as_ref().clone()),
            });
        }
    }
    if !changed.is_empty() {
        return Err(RegisterError::Changed(changed));
    }
    for definition in known.values() {
        store.publish(definition.spec()).await.map_err(|error| match error {
            PublishError::Store(error) => RegisterError::Store(error),
            // Somebody else has put another structure on record since we looked.
            changed => RegisterError::Changed(vec![changed]),
        })?;
    }
    runtime.registry.extend(known);
    introduce_again(&runtime).await;
    Ok(())
}

/// Tells the others, who say of a saga that no worker knows its definition. The lease is prolonged by
/// the way; one that is lost gets the new card when it is replaced.
async fn introduce_again(runtime: &Runtime) {
    let Some(tenure) = runtime.tenure() else { return };
    let card = card(runtime, tenure.worker);
    if let Err(error) = runtime.store.enlist(&card, runtime.options.lease_ttl).await {
        tracing::warn!(worker = %tenure.worker, %error, "cannot tell the others of new definitions");
    }
}

/// Definitions were not registered with a running worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Two of them have the same name and version.
    #[error(transparent)]
    Duplicate(#[from] RegistryError),
    /// These contradict the ones on record, each of them [`PublishError::Changed`].
    #[error("{}", lines(.0))]
    Changed(Vec<PublishError>),
    /// The store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn lines(changed: &[PublishError]) -> String {
    changed.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
