//! What was seen of the sagas while they ran, to be held against their logs at the end.
//!
//! A log alone cannot tell that a worker wrote into it after another one had claimed the saga but not
//! yet written. Whoever saw the claim can: from then on nothing of an older epoch may be appended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use saga_core::SagaId;

use super::sql::Reader;

const LIVE: &str = "\
    SELECT saga.id, saga.seq, saga.epoch, saga_log.digest \
    FROM saga JOIN saga_log ON saga_log.bucket = saga.bucket \
         AND saga_log.saga_id = saga.id AND saga_log.seq = saga.seq \
    WHERE saga.ended_at IS NULL";

/// Where a live saga stood at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The position of its last row.
    pub seq: u64,
    /// The newest epoch that was granted.
    pub epoch: u64,
    /// The digest of its last row.
    pub digest: [u8; 16],
}

/// A worker that was stopped for longer than its lease, and goes on.
#[derive(Debug, Clone)]
pub(super) struct Woken {
    /// Its process.
    pub pid: u32,
    /// The moment before it went on, in microseconds since 1970.
    pub at: i64,
    /// The epochs of all live sagas while it stood still.
    pub epochs: HashMap<SagaId, u64>,
}

/// What a worker knows that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Knows {
    /// The moment before it was started, in microseconds since 1970.
    pub since: i64,
    /// The newest version of the saga that it can drive.
    pub newest: u32,
}

/// Remembers what was seen.
// A std mutex: it is held for memory only, never across an await.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Seen>);

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where each saga stood, as often as that changed.
    pub marks: HashMap<SagaId, Vec<Mark>>,
    /// The workers that were stopped and went on.
    pub woken: Vec<Woken>,
    /// The workers that were started, by process, which may be the number of a later one again.
    pub workers: HashMap<u32, Vec<Knows>>,
}

impl Seen {
    /// The newest version that a worker knew at a moment, if it was ever ready.
    pub(super) fn newest_known(&self, pid: u32, at: i64) -> Option<u32> {
        let workers = self.workers.get(&pid)?;
        workers.iter().rev().find(|knows| knows.since <= at).map(|knows| knows.newest)
    }
}

impl Witness {
    /// Looks at all live sagas, remembers where they stand, and returns their epochs.
    ///
    /// # Errors
    /// When the database cannot be read now.
    pub(super) async fn look(&self, sagas: &mut Reader) -> anyhow::Result<HashMap<SagaId, u64>> {
        let rows: Vec<(Vec<u8>, i64, i64, Vec<u8>)> = sagas.rows(LIVE, &[]).await?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut epochs = HashMap::new();
        for (id, seq, epoch, digest) in rows {
            // What cannot be read here is found by the check at the end.
            let (Ok(id), Ok(digest)) = (id.try_into(), digest.try_into()) else { continue };
            let id = SagaId::from_bytes(id);
            let mark = Mark { seq: seq.unsigned_abs(), epoch: epoch.unsigned_abs(), digest };
            let marks = seen.marks.entry(id).or_default();
            if marks.last() != Some(&mark) {
                marks.push(mark);
            }
            epochs.insert(id, mark.epoch);
        }
        Ok(epochs)
    }

    /// A stopped worker is about to go on.
    pub(super) fn wakes(&self, woken: Woken) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).woken.push(woken);
    }

    /// A worker is ready.
    pub(super) fn starts(&self, pid: u32, knows: Knows) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.workers.entry(pid).or_default().push(knows);
    }

    /// All that was seen so far.
    pub(super) fn seen(&self) -> Seen {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
