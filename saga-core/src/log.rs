//! Rows of the saga log: events that became durable together, chained by digests.

use crate::digest::Digest;
use crate::event::Event;
use crate::time::Timestamp;

/// Most transitions of one saga. At this length it is stuck: something goes round in circles.
pub const LOG_TRANSITIONS_MAX: u64 = 10_000;

/// One transition as a store keeps it. Stores never look into the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Position in the log, from 1, without gaps.
    pub seq: u64,
    /// Epoch of the worker that wrote it; never decreases along a log.
    pub epoch: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The events, as JSON.
    pub body: String,
    /// Digest over the previous row's digest and this row: the chain that shows tampering.
    pub digest: Digest,
}

/// One transition, decoded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Transition {
    /// Position in the log, from 1.
    pub seq: u64,
    /// Epoch of the worker that wrote it.
    pub epoch: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    pub events: Vec<Event>,
}

/// The end of a log: what the next row has to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Position of the last row; 0 for an empty log.
    pub seq: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its digest.
    pub digest: Digest,
}

impl LogHead {
    /// Seals events as the next row.
    pub fn seal(self, epoch: u64, at: Timestamp, events: &[Event]) -> LogRow {
        let body = serde_json::to_string(events).expect("events hold only text, numbers and JSON");
        let seq = self.seq + 1;
        let digest = chain(self.digest, seq, epoch, at, &body);
        LogRow { seq, epoch, at, body, digest }
    }

    /// Checks that `row` comes next, and decodes it.
    ///
    /// # Errors
    /// [`LogError`] when a row is missing, was changed, or is not readable.
    pub fn open(self, row: &LogRow) -> Result<Transition, LogError> {
        let seq = row.seq;
        if seq != self.seq + 1 {
            return Err(LogError::Gap { expected: self.seq + 1, found: seq });
        }
        if row.epoch < self.epoch {
            return Err(LogError::EpochBack { seq, expected: self.epoch, found: row.epoch });
        }
        if chain(self.digest, seq, row.epoch, row.at, &row.body) != row.digest {
            return Err(LogError::Tampered { seq });
        }
        row.decode()
    }
}

impl LogRow {
    /// The head of a log that ends with this row.
    pub fn head(&self) -> LogHead {
        LogHead { seq: self.seq, epoch: self.epoch, digest: self.digest }
    }

    /// Decodes the row without checking the chain: for showing a part of a log.
    ///
    /// # Errors
    /// [`LogError::Newer`] when the body is JSON but not a list of events that this release
    /// knows, [`LogError::Undecodable`] when it is no JSON at all.
    pub fn decode(&self) -> Result<Transition, LogError> {
        let events = serde_json::from_str(&self.body).map_err(|error| {
            let (seq, why) = (self.seq, error.to_string());
            match serde_json::from_str::<serde::de::IgnoredAny>(&self.body) {
                Ok(_) => LogError::Newer { seq, why },
                Err(_) => LogError::Undecodable { seq, why },
            }
        })?;
        Ok(Transition { seq: self.seq, epoch: self.epoch, at: self.at, events })
    }
}

fn chain(previous: Digest, seq: u64, epoch: u64, at: Timestamp, body: &str) -> Digest {
    let (seq, epoch, at) = (seq.to_be_bytes(), epoch.to_be_bytes(), at.as_micros().to_be_bytes());
    Digest::of(&[previous.as_bytes(), &seq, &epoch, &at, body.as_bytes()])
}

/// Why a stored log is not a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// A row's body is not JSON.
    #[error("log row {seq} cannot be read: {why}; it was damaged")]
    Undecodable {
        /// The row.
        seq: u64,
        /// The first fault.
        why: String,
    },
    /// A row fits the chain, but its events are not of this release: whoever wrote it knows more.
    #[error(
        "log row {seq} holds what this release does not know ({why}): a newer release wrote it"
    )]
    Newer {
        /// The row.
        seq: u64,
        /// The first thing that is not known.
        why: String,
    },
    /// A row is missing or stands twice.
    #[error(
        "log row {found} stands where row {expected} was expected: a row is missing or was moved"
    )]
    Gap {
        /// The expected position.
        expected: u64,
        /// The position found.
        found: u64,
    },
    /// A row does not fit its digest.
    #[error("log row {seq} does not fit the digest chain: it or an earlier row was changed")]
    Tampered {
        /// The row.
        seq: u64,
    },
    /// An epoch went back.
    #[error("log row {seq} has epoch {found}, older than the {expected} before it")]
    EpochBack {
        /// The row.
        seq: u64,
        /// The epoch so far.
        expected: u64,
        /// The epoch found.
        found: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<LogRow> {
        let mut head = LogHead::default();
        (0..4)
            .map(|n| {
                let row = head.seal(n / 2, Timestamp::from_micros(n as i64), &[Event::WorkerLost]);
                head = row.head();
                row
            })
            .collect()
    }

    fn read(rows: &[LogRow]) -> Result<(), LogError> {
        let mut head = LogHead::default();
        rows.iter().try_for_each(|row| {
            head.open(row)?;
            head = row.head();
            Ok(())
        })
    }

    #[test]
    fn flipping_any_bit_of_a_row_is_found() {
        assert_eq!(read(&log()), Ok(()));
        for (row, bit) in (0..4).flat_map(|row| (0..8 * 15).map(move |bit| (row, bit))) {
            let mut damaged = log();
            let mut bytes = std::mem::take(&mut damaged[row].body).into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A store would refuse to hand out what is no longer text at all.
            let Ok(body) = String::from_utf8(bytes) else { continue };
            damaged[row].body = body;
            assert_eq!(read(&damaged), Err(LogError::Tampered { seq: row as u64 + 1 }));
        }
    }

    #[test]
    fn a_missing_or_swapped_row_is_found() {
        let mut missing = log();
        missing.remove(1);
        assert_eq!(read(&missing), Err(LogError::Gap { expected: 2, found: 3 }));
        let mut swapped = log();
        swapped.swap(0, 1);
        assert_eq!(read(&swapped), Err(LogError::Gap { expected: 1, found: 2 }));
    }

    #[test]
    fn what_a_newer_release_wrote_is_told_from_damage() {
        let sealed = |body: &str| {
            let head = LogHead::default();
            let digest = chain(head.digest, 1, 1, Timestamp::default(), body);
            LogRow { seq: 1, epoch: 1, at: Timestamp::default(), body: body.to_owned(), digest }
        };
        for newer in [r#"[{"moon_landed":{"step":1}}]"#, r#"["worker_lost",7]"#, r#"{"v":2}"#] {
            let error = LogHead::default().open(&sealed(newer)).expect_err(newer);
            assert!(matches!(error, LogError::Newer { seq: 1, .. }), "{newer}: {error}");
            let changed = LogRow { at: Timestamp::from_micros(1), ..sealed(newer) };
            let error = LogHead::default().open(&changed).expect_err("it does not fit its digest");
            assert_eq!(error, LogError::Tampered { seq: 1 });
        }
        let error = LogHead::default().open(&sealed(r#"[{"worker_lo"#)).expect_err("no JSON");
        assert!(matches!(error, LogError::Undecodable { seq: 1, .. }), "{error}");
    }

    #[test]
    fn an_epoch_that_goes_back_is_found() {
        let first = LogHead::default().seal(7, Timestamp::default(), &[Event::WorkerLost]);
        let second = first.head().seal(6, Timestamp::default(), &[Event::WorkerLost]);
        let error = LogError::EpochBack { seq: 2, expected: 7, found: 6 };
        assert_eq!(read(&[first, second]), Err(error));
    }
}
