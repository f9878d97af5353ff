//! Places in the feed, and their text.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::id::SagaId;

/// A place in the feed of one database.
///
/// Its text is opaque to everybody but this release and later ones: 62 characters of letters,
/// digits, `-` and `_`, with a check against mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Whose feed it is a place in: differs between databases, and changes when one loses a part
    /// of its past.
    pub lineage: u64,
    /// Whether the reader has not caught up yet since it began at the oldest place.
    pub catching_up: bool,
    /// The turn of the last transition before it, in the numbering of the store.
    pub turn: u64,
    /// The saga of that transition; several sagas may share a turn.
    pub id: SagaId,
    /// The position of that transition in the log of its saga.
    pub seq: u64,
}

/// The version of the text.
const VERSION: u8 = 1;
/// Version, flags, lineage, turn, id, seq and check.
const BYTES: usize = 1 + 1 + 8 + 8 + 16 + 8 + 4;
/// Its length as text, four characters for three bytes.
const CHARS: usize = (BYTES * 4).div_ceil(3);
/// Digits of the text, 6 bits each.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Cursor {
    /// The place behind all that have this turn or an earlier one.
    pub const fn behind(lineage: u64, turn: u64) -> Self {
        let id = SagaId::from_bytes([0xff; 16]);
        Self { lineage, catching_up: false, turn, id, seq: i64::MAX as u64 }
    }

    /// The place before everything.
    pub const fn oldest(lineage: u64) -> Self {
        let id = SagaId::from_bytes([0; 16]);
        Self { lineage, catching_up: true, turn: 0, id, seq: 0 }
    }

    /// How two places of one feed lie to each other; `None` for places in different feeds.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let place = |cursor: &Self| (cursor.turn, cursor.id, cursor.seq);
        (self.lineage == other.lineage).then(|| place(self).cmp(&place(other)))
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1] = u8::from(self.catching_up);
        bytes[2..10].copy_from_slice(&self.lineage.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.turn.to_be_bytes());
        bytes[18..34].copy_from_slice(&self.id.to_bytes());
        bytes[34..42].copy_from_slice(&self.seq.to_be_bytes());
        let check = check(&bytes);
        bytes[42..].copy_from_slice(&check);
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Option<Self> {
        let number = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_be_bytes);
        if bytes[42..] != check(bytes) || bytes[0] != VERSION || bytes[1] > 1 {
            return None;
        }
        let cursor = Self {
            lineage: number(2)?,
            catching_up: bytes[1] == 1,
            turn: number(10)?,
            id: SagaId::from_bytes(bytes[18..34].try_into().ok()?),
            seq: number(34)?,
        };
        let fits = |number: u64| i64::try_from(number).is_ok();
        (fits(cursor.turn) && fits(cursor.seq)).then_some(cursor)
    }
}

/// Against mistakes, such as a text cut short or put together by hand; not against forgers, who
/// would gain nothing.
fn check(bytes: &[u8; BYTES]) -> [u8; 4] {
    let digest = Digest::of(&[&bytes[..42]]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(CHARS);
        for part in self.to_bytes().chunks(3) {
            let bits = part.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - part.len()));
            for digit in 0..=part.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        f.write_str(&text)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = read(text).ok_or(CursorError)?;
        let cursor = Self::from_bytes(&bytes).ok_or(CursorError)?;
        // The last digit has bits to spare; each place has one text only.
        if cursor.to_string() == text { Ok(cursor) } else { Err(CursorError) }
    }
}

fn read(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != CHARS {
        return None;
    }
    let (mut bytes, mut at, mut bits, mut held) = ([0; BYTES], 0, 0_u32, 0);
    for digit in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == digit)?;
        (bits, held) = (bits << 6 | digit as u32, held + 6);
        if held >= 8 {
            held -= 8;
            *bytes.get_mut(at)? = (bits >> held) as u8;
            at += 1;
        }
    }
    (at == BYTES).then_some(bytes)
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor: expected one as the feed gave it, unchanged")]
pub struct CursorError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bucket;

    fn cursor() -> Cursor {
        let id = SagaId::new(1_800_000_000_000, 0x1234_5678_9abc_def0, Bucket::of("a", 256));
        Cursor { lineage: 0xfeed_beef, catching_up: false, turn: 77_001, id, seq: 12 }
    }

    #[test]
    fn a_cursor_survives_its_text() {
        let id = SagaId::from_bytes([0xff; 16]);
        for cursor in [
            cursor(),
            Cursor { catching_up: true, ..cursor() },
            Cursor::oldest(0),
            Cursor::behind(u64::MAX, 9),
            Cursor { turn: i64::MAX as u64, seq: i64::MAX as u64, id, ..cursor() },
        ] {
            let text = cursor.to_string();
            assert_eq!(text.len(), CHARS);
            assert_eq!(text.parse(), Ok(cursor), "{text}");
        }
    }

    #[test]
    fn no_text_but_that_of_a_cursor_is_one() {
        let good = cursor().to_string();
        let mut hostile: Vec<String> =
            ["", "0", "now", "\u{1f980}", "../../etc/passwd"].map(str::to_owned).to_vec();
        hostile.extend([format!("{good}="), format!(" {good}"), good[1..].to_owned()]);
        hostile.push(good.to_lowercase());
        hostile.push("\u{e9}".repeat(CHARS / 2));
        for at in 0..good.len() {
            for digit in ['A', '-', '_', '9', '+', '/', '\n'] {
                let mut changed = good.clone();
                changed.replace_range(at..=at, &digit.to_string());
                hostile.extend((changed != good).then_some(changed));
            }
        }
        for text in hostile {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn places_are_compared_by_turn_then_saga_then_position_and_only_within_one_feed() {
        let here = cursor();
        let later = [
            Cursor { seq: 13, ..here },
            Cursor { turn: 77_002, seq: 1, ..here },
            Cursor::behind(here.lineage, here.turn),
        ];
        for later in later {
            assert_eq!(here.compare(&later), Some(Ordering::Less));
        }
        assert_eq!(Cursor::oldest(here.lineage).compare(&here), Some(Ordering::Less));
        assert_eq!(here.compare(&Cursor { catching_up: true, ..here }), Some(Ordering::Equal));
        assert_eq!(here.compare(&Cursor { lineage: 1, ..here }), None);
    }
}
