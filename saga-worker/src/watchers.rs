//! News of sagas inside one process, so that those who wait for one need not poll.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use saga_core::{SagaId, SagaView};
use tokio::sync::Notify;

/// Who waits for which saga: each subscriber learns that its log has grown, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    sagas: Mutex<HashMap<SagaId, Watched>>,
    /// Wakes those who wait for news of any saga.
    any: Notify,
}

/// A saga that somebody watches, and how many do.
#[derive(Debug, Default)]
struct Watched {
    news: Arc<News>,
    watches: usize,
}

/// What is known of a saga that somebody watches. Those who wait for its end alone are not
/// woken at each step on the way.
#[derive(Debug, Default)]
struct News {
    /// Counts the news.
    published: AtomicU64,
    grown: Notify,
    /// The saga with its verdict.
    end: OnceLock<Arc<SagaView>>,
    ended: Notify,
}

/// A subscription to one saga; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    watchers: Arc<Watchers>,
    id: SagaId,
    news: Arc<News>,
    seen: u64,
}

impl Watchers {
    /// Subscribes to a saga. News published before this call are not repeated.
    pub(crate) fn watch(self: &Arc<Self>, id: SagaId) -> Watch {
        let mut watchers = self.lock();
        let watched = watchers.entry(id).or_default();
        watched.watches += 1;
        let news = watched.news.clone();
        drop(watchers);
        let seen = news.published.load(Ordering::SeqCst);
        Watch { watchers: self.clone(), id, news, seen }
    }

    /// Tells the subscribers of a saga that its log has grown, and shows it to them if it has ended.
    /// Nobody pays for the showing where nobody watches.
    pub(crate) fn publish(&self, id: SagaId, ended: Option<&dyn Fn() -> SagaView>) {
        self.any.notify_waiters();
        let Some(news) = self.lock().get(&id).map(|watched| watched.news.clone()) else { return };
        if let Some(show) = ended {
            news.end.get_or_init(|| Arc::new(show()));
            news.ended.notify_waiters();
        }
        news.published.fetch_add(1, Ordering::SeqCst);
        news.grown.notify_waiters();
    }

    /// Resolves when there are news of any saga, counted from this call on.
    pub(crate) fn any(&self) -> impl Future<Output = ()> + Send + '_ {
        self.any.notified()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SagaId, Watched>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Resolves at the next news.
    pub(crate) async fn changed(&mut self) {
        // Made before the look, so that what is published after the look wakes it.
        let grown = self.news.grown.notified();
        if self.news.published.load(Ordering::SeqCst) == self.seen {
            grown.await;
        }
        self.seen = self.news.published.load(Ordering::SeqCst);
    }

    /// Resolves when its end is among the news.
    pub(crate) async fn ended(&self) -> Arc<SagaView> {
        loop {
            let ended = self.news.ended.notified();
            if let Some(end) = self.news.end.get() {
                return end.clone();
            }
            ended.await;
        }
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        let mut clone = self.watchers.watch(self.id);
        clone.seen = self.seen;
        clone
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock();
        if let Entry::Occupied(mut entry) = watchers.entry(self.id) {
            entry.get_mut().watches -= 1;
            if entry.get().watches == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::{Context, Wake, Waker};

    use super::*;
    use saga_core::{Bucket, Definition, Failure, Payload, Saga, StartRequest, Step, Timestamp};

    async fn work() -> Result<(), Failure> {
        Ok(())
    }

    fn view(id: SagaId) -> SagaView {
        let definition = Definition::new("pay", [Step::pivot("capture", work)]).unwrap();
        let request =
            StartRequest { input: Payload::null(), key: None, traceparent: None, by: None };
        let now = Timestamp::from_micros(1);
        SagaView::of(&Saga::start(id, definition.spec().clone(), now, request).0, now)
    }

    /// Whether a task would have been woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_subscriber_hears_of_its_saga_and_leaves_nothing_behind() {
        let watchers: Arc<Watchers> = Arc::default();
        let id = SagaId::new(1, 2, Bucket::of("a", 1));
        let (mut first, second) = (watchers.watch(id), watchers.watch(id));
        watchers.publish(id, Some(&|| view(id)));
        first.changed().await;
        assert_eq!(*second.ended().await, view(id));
        drop(first);
        assert_eq!(watchers.lock().len(), 1);
        drop(second);
        assert!(watchers.lock().is_empty());
    }
    #[tokio::test]
    async fn news_between_two_waits_are_not_missed_and_none_is_told_twice() {
        let watchers: Arc<Watchers> = Arc::default();
        let id = SagaId::new(1, 2, Bucket::of("a", 1));
        let mut watch = watchers.watch(id);
        watchers.publish(id, None);
        watchers.publish(id, None);
        watch.changed().await;
        let mut next = std::pin::pin!(watch.changed());
        assert!(futures_util::poll!(&mut next).is_pending(), "both were told at once");
        watchers.publish(id, None);
        next.await;
    }

    #[tokio::test]
    async fn who_waits_for_any_saga_is_woken_by_each_and_not_by_what_came_before() {
        let watchers: Arc<Watchers> = Arc::default();
        let ids = ["a", "b"].map(|key| SagaId::new(1, 2, Bucket::of(key, 16)));
        watchers.publish(ids[0], None);
        for id in ids {
            let mut news = std::pin::pin!(watchers.any());
            assert!(futures_util::poll!(&mut news).is_pending());
            watchers.publish(id, None);
            news.await;
        }
        let between = watchers.any();
        watchers.publish(ids[0], None);
        between.await;
    }

    #[tokio::test]
    async fn who_waits_for_the_end_is_not_woken_before() {
        let watchers: Arc<Watchers> = Arc::default();
        let id = SagaId::new(1, 2, Bucket::of("a", 1));
        let watch = watchers.watch(id);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut ended = std::pin::pin!(watch.ended());
        assert!(ended.as_mut().poll(&mut context).is_pending());
        watchers.publish(id, None);
        assert!(!woken.0.load(Ordering::SeqCst));
        watchers.publish(id, Some(&|| view(id)));
        assert!(woken.0.load(Ordering::SeqCst));
        assert_eq!(*ended.await, view(id));
    }

    #[test]
    fn a_saga_that_nobody_watches_is_not_shown() {
        let watchers: Arc<Watchers> = Arc::default();
        let id = SagaId::new(1, 2, Bucket::of("a", 1));
        watchers.publish(id, Some(&|| unreachable!("nobody looks")));
    }
}
