//! Being told of commits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One commit of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// How many changes of callers shared it: starts and appends, in SQLite also all others.
    pub changes: usize,
    /// How long it took, from the first change to the answer that it is durable.
    pub took: Duration,
}

/// Who is told of every commit, right after it. It must not block: other callers wait behind it.
#[derive(Clone)]
pub struct OnCommit(Arc<dyn Fn(Commit) + Send + Sync>);

impl OnCommit {
    /// Has a function told.
    pub fn new(told: impl Fn(Commit) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, changes: usize, took: Duration) {
        (self.0)(Commit { changes, took });
    }
}

impl fmt::Debug for OnCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCommit")
    }
}
