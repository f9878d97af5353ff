//! Work on many items, a bounded number of them at the same time.

use std::future::Future;

use anyhow::Context as _;
use tokio::task::JoinSet;

/// Does the work for each item, at most `at_once` at a time; the results come in the order in which
/// they are ready. The first error ends it; dropping it ends the work that is under way.
///
/// # Errors
/// The first error of the work, or a panic in it.
pub(crate) async fn each<T, R, W>(
    items: Vec<T>,
    at_once: usize,
    work: impl Fn(T) -> W,
) -> anyhow::Result<Vec<R>>
where
    R: Send + 'static,
    W: Future<Output = anyhow::Result<R>> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut running = JoinSet::new();
    let mut results = Vec::new();
    loop {
        while running.len() < at_once
            && let Some(item) = items.next()
        {
            running.spawn(work(item));
        }
        match running.join_next().await {
            None => return Ok(results),
            Some(joined) => results.push(joined.context("a part of the demo panicked")??),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn every_item_is_worked_on_and_never_more_than_allowed_at_once() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut results = each((0..40).collect(), 4, |item| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(item)
            }
        })
        .await
        .unwrap();
        results.sort_unstable();
        assert_eq!(results, (0..40).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn the_first_error_ends_the_work() {
        let outcome = each(vec![1, 2, 3], 1, |item| async move {
            anyhow::ensure!(item < 2, "item {item} is bad");
            Ok(item)
        })
        .await;
        assert_eq!(outcome.unwrap_err().to_string(), "item 2 is bad");
    }
}
