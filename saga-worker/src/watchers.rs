//! News of sagas inside one process, so that those who wait for one need not poll.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use saga_core::{SagaId, Verdict};
use tokio::sync::watch;

/// Who waits for which saga: each subscriber learns that its log has grown, and the verdict.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<SagaId, Sender>>);

/// Carries the verdict once there is one.
type Sender = watch::Sender<Option<Verdict>>;

/// A subscription to one saga; ends when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    watchers: Arc<Watchers>,
    id: SagaId,
    receiver: watch::Receiver<Option<Verdict>>,
}

impl Watchers {
    /// Subscribes to a saga. News published before this call are not repeated.
    pub(crate) fn watch(self: &Arc<Self>, id: SagaId) -> Watch {
        let receiver = self.lock().entry(id).or_insert_with(|| watch::channel(None).0).subscribe();
        Watch { watchers: self.clone(), id, receiver }
    }

    /// Tells the subscribers of a saga that its log has grown, and its verdict if it has ended.
    pub(crate) fn publish(&self, id: SagaId, verdict: Option<&Verdict>) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_replace(verdict.cloned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Sender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The verdict, if it was among the news.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.receiver.borrow().clone()
    }

    /// Resolves at the next news.
    pub(crate) async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            // The sender lives in the map as long as this subscription does.
            std::future::pending().await
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock();
        if watchers.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            watchers.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::Bucket;

    #[tokio::test]
    async fn a_subscriber_hears_of_its_saga_and_leaves_nothing_behind() {
        let watchers: Arc<Watchers> = Arc::default();
        let id = SagaId::new(1, 2, Bucket::of("a", 1));
        let (mut first, second) = (watchers.watch(id), watchers.watch(id));
        watchers.publish(id, Some(&Verdict::Completed));
        first.changed().await;
        assert_eq!(second.verdict(), Some(Verdict::Completed));
        drop(first);
        assert_eq!(watchers.lock().len(), 1);
        drop(second);
        assert!(watchers.lock().is_empty());
    }
}
