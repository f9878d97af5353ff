//! Wake-ups: in this process by a notification, from other processes by a look at the file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
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
    /// The write-ahead log as this process last left it. Locked for a copy, never across an await.
    ours: Mutex<Stamp>,
}

impl Hint {
    /// Hints about the database whose write-ahead log is at `wal`.
    pub(super) fn new(wal: PathBuf) -> Self {
        let hint = Self { notify: Notify::new(), waiting: 0.into(), wal, ours: Mutex::new(None) };
        hint.wrote();
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

    /// This process has written: remembers what that looks like from outside.
    pub(super) fn wrote(&self) {
        let stamp = self.stamp();
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
    }

    /// Resolves on the next hint.
    pub(super) async fn wait(&self) {
        let _waiting = Waiting::new(&self.waiting);
        let notified = self.notify.notified();
        tokio::select! {
            () = notified => {}
            () = self.written_by_others() => {}
        }
    }

    async fn written_by_others(&self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let stamp = self.stamp();
            let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
            if stamp != *ours {
                *ours = stamp;
                return;
            }
        }
    }

    /// One system call on a file that is in use: not worth a thread of its own.
    fn stamp(&self) -> Stamp {
        let metadata = std::fs::metadata(&self.wal).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
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
