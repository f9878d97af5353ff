//! Wake-ups: in this process by a notification, from other processes by a look at the file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// How often a waiter looks whether another process has written.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Length and time of the last change of the write-ahead log.
type Stamp = Option<(u64, SystemTime)>;

/// Where waiters for work are told that there may be some. Only ever a hint.
#[derive(Debug)]
pub(super) struct Hint {
    notify: Notify,
    waiting: AtomicUsize,
    wal: PathBuf,
    /// Locked for one look at the file, never across an await.
    seen: Mutex<Seen>,
}

/// What is known of the write-ahead log.
#[derive(Debug)]
enum Seen {
    /// As it was when last looked at, or when this process had last written.
    Stamp(Stamp),
    /// This process is writing, so a change says nothing.
    Writing,
}

impl Hint {
    /// Hints about the database whose write-ahead log is at `wal`.
    pub(super) fn new(wal: PathBuf) -> Self {
        let seen = Mutex::new(Seen::Writing);
        let hint = Self { notify: Notify::new(), waiting: 0.into(), wal, seen };
        *hint.seen() = Seen::Stamp(hint.stamp());
        hint
    }

    /// There may be work: wakes everybody who waits, else the next one to wait.
    pub(super) fn give(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            self.notify.notify_one();
        } else {
            self.notify.notify_waiters();
        }
    }

    /// This process writes, until the guard is dropped: what then changes in the file is no hint.
    pub(super) fn writing(&self) -> Writing<'_> {
        *self.seen() = Seen::Writing;
        Writing(self)
    }

    /// Resolves on the next hint.
    pub(super) async fn wait(&self) {
        let _waiting = Waiting::new(&self.waiting);
        tokio::select! {
            () = self.notify.notified() => {}
            () = self.written_by_others() => {}
        }
    }

    async fn written_by_others(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let mut seen = self.seen();
            let stamp = self.stamp();
            if let Seen::Stamp(before) = &*seen
                && *before != stamp
            {
                *seen = Seen::Stamp(stamp);
                return;
            }
        }
    }

    /// One system call on a file that is in use: not worth a thread of its own.
    fn stamp(&self) -> Stamp {
        let metadata = std::fs::metadata(&self.wal).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction of this process.
pub(super) struct Writing<'a>(&'a Hint);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        *seen = Seen::Stamp(self.0.stamp());
    }
}

/// Counts a waiter for as long as its future lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
