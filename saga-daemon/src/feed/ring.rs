//! What was read last.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use saga_core::store::Cursor;

use super::{Frame, Frames};

/// Most transitions kept.
const FRAMES_MAX: usize = 8_192;
/// Most bytes kept.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The transitions between two places of the feed, without a gap.
#[derive(Debug)]
pub(super) struct Ring {
    /// The place before the first one kept.
    base: Cursor,
    /// The place up to which everything was read.
    head: Cursor,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
}

impl Ring {
    /// Nothing yet, read up to this place.
    pub(super) fn at(head: Cursor) -> Self {
        Self { base: head, head, frames: VecDeque::new(), bytes: 0 }
    }

    /// The place up to which everything was read.
    pub(super) fn head(&self) -> Cursor {
        self.head
    }

    /// Takes in what was read from the head on up to the next place; the oldest gives way.
    pub(super) fn push(&mut self, frames: Frames, head: Cursor) {
        for frame in frames {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
        self.head = head;
        while self.frames.len() > FRAMES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else { break };
            (self.base, self.bytes) = (oldest.cursor, self.bytes - oldest.len());
        }
    }

    /// What is kept behind a place; `None` when there may be something that is kept no more.
    pub(super) fn behind(&self, place: &Cursor) -> Option<impl Iterator<Item = &Arc<Frame>>> {
        if !matches!(self.base.compare(place), Some(Ordering::Less | Ordering::Equal)) {
            return None;
        }
        let seen = |frame: &Arc<Frame>| frame.cursor.compare(place) != Some(Ordering::Greater);
        Some(self.frames.range(self.frames.partition_point(seen)..))
    }
}

#[cfg(test)]
mod tests {
    use saga_core::store::FeedEntry;
    use saga_core::{Bucket, DefinitionRef, Digest, LogHead, SagaId, Status, Timestamp};

    use super::*;

    fn frame(turn: u64, padding: usize) -> Arc<Frame> {
        let id = SagaId::new(turn, 0, Bucket::of("a", 1));
        let definition =
            DefinitionRef { name: "x".repeat(padding), version: 1, digest: Digest::default() };
        let row = LogHead::default().seal(1, Timestamp::from_micros(1), &[]);
        let cursor = Cursor { turn, id, seq: 1, ..Cursor::behind(7, 0) };
        Frame::new(
            FeedEntry { cursor, id, definition, key: None, status: Status::Running, row },
            None,
        )
    }

    fn turns(ring: &Ring, place: &Cursor) -> Option<Vec<u64>> {
        Some(ring.behind(place)?.map(|frame| frame.cursor.turn).collect())
    }

    #[test]
    fn a_reader_is_given_exactly_what_is_behind_its_place() {
        let mut ring = Ring::at(Cursor::behind(7, 10));
        ring.push(vec![frame(12, 1), frame(15, 1)], Cursor::behind(7, 20));
        assert_eq!(turns(&ring, &Cursor::behind(7, 10)), Some(vec![12, 15]));
        assert_eq!(turns(&ring, &frame(12, 1).cursor), Some(vec![15]));
        assert_eq!(turns(&ring, &Cursor::behind(7, 14)), Some(vec![15]));
        assert_eq!(turns(&ring, &Cursor::behind(7, 20)), Some(vec![]));
        // From another process that has read further.
        assert_eq!(turns(&ring, &Cursor::behind(7, 30)), Some(vec![]));
    }

    #[test]
    fn a_reader_from_before_the_ring_or_from_another_feed_has_to_look_elsewhere() {
        let mut ring = Ring::at(Cursor::behind(7, 10));
        ring.push(vec![frame(12, 1)], Cursor::behind(7, 20));
        assert_eq!(turns(&ring, &Cursor::behind(7, 9)), None);
        assert_eq!(turns(&ring, &Cursor::behind(8, 10)), None);
    }

    #[test]
    fn the_ring_is_bounded_in_number_and_in_bytes() {
        let mut ring = Ring::at(Cursor::behind(7, 0));
        for turn in 1..=FRAMES_MAX as u64 + 5 {
            ring.push(vec![frame(turn, 1)], Cursor::behind(7, turn));
        }
        assert_eq!(ring.frames.len(), FRAMES_MAX);
        assert_eq!(turns(&ring, &frame(4, 1).cursor), None, "number 5 has left");
        assert_eq!(turns(&ring, &frame(5, 1).cursor).map(|turns| turns.len()), Some(FRAMES_MAX));
        let large = BYTES_MAX / 4;
        for turn in 20_000..20_010 {
            ring.push(vec![frame(turn, large)], Cursor::behind(7, turn));
        }
        assert!(ring.bytes <= BYTES_MAX && ring.frames.len() <= 4, "{}", ring.frames.len());
    }
}
