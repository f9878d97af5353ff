//! Reading scalars: names, times, numbers, sizes, words.

use std::time::Duration;

use super::fault::Code;
use super::nearest::nearest;
use super::node::{Node, Scalar, Value, shorten};
use super::source::Source;

/// What a name is, as a regular expression for the schema.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9-]+$";
/// What a time is, as a regular expression for the schema.
pub(super) const DURATION_PATTERN: &str = "^([0-9]{1,12}(ms|s|m|h|d))+$";
/// What a size is, as a regular expression for the schema.
pub(super) const SIZE_PATTERN: &str = "^[0-9]{1,12}(B|KiB|MiB)$";

/// Longest time that can be said: a hundred years.
const DURATION_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Largest answer that can be allowed, since it becomes an output: 16 MiB.
const SIZE_MAX: usize = 16 * 1024 * 1024;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const OTHER_UNITS: [(&str, &str); 14] = [
    ("msec", "ms"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
];

/// A text.
pub(super) fn text<'n>(source: &Source<'_>, node: &'n Node, expected: &str) -> Option<&'n str> {
    if let Value::Scalar(Scalar::Text(text)) = &node.value {
        return Some(text);
    }
    let help = match &node.value {
        Value::Scalar(Scalar::Number(number)) => Some(format!("put it in quotes: \"{number}\"")),
        Value::Scalar(Scalar::Bool(value)) => Some(format!("put it in quotes: \"{value}\"")),
        _ => node.unquoted().map(str::to_owned),
    };
    let message = format!("expected {expected}, found {}", node.kind());
    source.fault_with(node.mark, Code::Type, message, help);
    None
}

/// A name; whether it is well-formed is a matter of the definition's own check.
pub(super) fn name(source: &Source<'_>, node: &Node, of: &str) -> Option<String> {
    text(source, node, &format!("the name of a {of}")).map(str::to_owned)
}

/// A time such as `1m30s`.
pub(super) fn duration(source: &Source<'_>, node: &Node) -> Option<Duration> {
    const EXPECTED: &str = "a time such as 500ms, 3s, 1m30s, 2h or 1d";
    let text = match &node.value {
        Value::Scalar(Scalar::Number(number)) => {
            let message = format!("expected {EXPECTED}, found the number {number} without a unit");
            let help = format!("did you mean `{number}s` or `{number}ms`?");
            source.fault_with(node.mark, Code::Value, message, Some(help));
            return None;
        }
        _ => text(source, node, EXPECTED)?,
    };
    let parsed = parse_duration(text);
    if parsed.is_none() {
        let message = format!("{:?} is no time: expected {EXPECTED}", shorten(text));
        let help = meant_duration(text).map(|meant| format!("did you mean `{meant}`?"));
        source.fault_with(node.mark, Code::Value, message, help);
    }
    parsed
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest.get(..digits).filter(|d| d.len() <= 12)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(Duration::from_millis(count.checked_mul(*ms)?))?;
        rest = &rest[letters..];
    }
    (!text.is_empty() && total <= DURATION_MAX).then_some(total)
}

/// `5 sec` is `5s`, `1,5h` is not guessed at.
fn meant_duration(text: &str) -> Option<String> {
    let lower: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    let mut meant = String::new();
    let mut rest = lower.as_str();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        meant.push_str(&rest[..digits]);
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = &rest[..letters];
        let is_unit = UNITS.iter().any(|(unit, _)| *unit == word);
        let other = OTHER_UNITS.iter().find(|(other, _)| *other == word);
        meant.push_str(if is_unit { word } else { other.map(|(_, unit)| *unit)? });
        rest = &rest[letters..];
    }
    parse_duration(&meant).map(|_| meant)
}

/// A whole number between bounds.
pub(super) fn count(source: &Source<'_>, node: &Node, min: u32, max: u32) -> Option<u32> {
    let expected = match max {
        u32::MAX => format!("a whole number from {min} on"),
        _ => format!("a whole number from {min} to {max}"),
    };
    let Value::Scalar(Scalar::Number(number)) = &node.value else {
        source.fault(node.mark, Code::Type, format!("expected {expected}, found {}", node.kind()));
        return None;
    };
    let value = number.as_u64().and_then(|value| u32::try_from(value).ok());
    let value = value.filter(|value| (min..=max).contains(value));
    if value.is_none() {
        source.fault(node.mark, Code::Value, format!("expected {expected}, found {number}"));
    }
    value
}

/// A number that may have a fraction, in percent.
pub(super) fn percent(source: &Source<'_>, node: &Node, min: u32, max: u32) -> Option<u32> {
    let expected = format!("a number from {min} to {max}, such as 2 or 1.5");
    let Value::Scalar(Scalar::Number(number)) = &node.value else {
        source.fault(node.mark, Code::Type, format!("expected {expected}, found {}", node.kind()));
        return None;
    };
    let value = number.as_f64().filter(|value| (f64::from(min)..=f64::from(max)).contains(value));
    if value.is_none() {
        source.fault(node.mark, Code::Value, format!("expected {expected}, found {number}"));
    }
    value.map(|value| (value * 100.0).round() as u32)
}

/// A size such as `64KiB`.
pub(super) fn size(source: &Source<'_>, node: &Node) -> Option<usize> {
    const EXPECTED: &str = "a size such as 512B, 64KiB or 1MiB, at most 16MiB";
    let text = text(source, node, EXPECTED)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let factor = match &text[digits..] {
        "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let number = text[..digits].parse::<usize>().ok();
    let size = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    let size = size.filter(|size| (1..=SIZE_MAX).contains(size));
    if size.is_none() {
        let message = format!("{:?} is no size: expected {EXPECTED}", shorten(text));
        let units = ["B", "KiB", "MiB"];
        let meant =
            nearest(&text[digits..], units).filter(|_| number.is_some() && factor.is_none());
        let help = meant.map(|unit| format!("did you mean `{}{unit}`?", &text[..digits]));
        source.fault_with(node.mark, Code::Value, message, help);
    }
    size
}

/// One of some words.
pub(super) fn word(
    source: &Source<'_>,
    node: &Node,
    words: &[&'static str],
) -> Option<&'static str> {
    let expected = words.join(", ");
    let text = text(source, node, &format!("one of {expected}"))?;
    let found = words.iter().find(|word| **word == text);
    if found.is_none() {
        let message = format!("{:?} is not understood: expected one of {expected}", shorten(text));
        let help =
            nearest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        source.fault_with(node.mark, Code::Value, message, help);
    }
    found.copied()
}

/// The items of a list.
pub(super) fn list<'n>(source: &Source<'_>, node: &'n Node, of: &str) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            let message = format!("expected a list of {of}, found {}", node.kind());
            source.fault(node.mark, Code::Type, message);
            &[]
        }
    }
}

/// The entries of a mapping with names of the user's choice, each name once.
pub(super) fn map<'n>(
    source: &Source<'_>,
    node: &'n Node,
    of: &str,
) -> Vec<(&'n str, &'n Node, &'n Node)> {
    let Value::Map(entries) = &node.value else {
        source.fault(
            node.mark,
            Code::Type,
            format!("expected a mapping of {of}, found {}", node.kind()),
        );
        return Vec::new();
    };
    let mut named: Vec<(&str, &Node, &Node)> = Vec::new();
    for (key, value) in entries.iter() {
        let Some(name) = text(source, key, &format!("the name of a {of}")) else { continue };
        let is_same = |other: &str| other.eq_ignore_ascii_case(name);
        match named.iter().find(|(other, ..)| is_same(other)) {
            Some((_, first, _)) => {
                let message = format!("`{name}` stands twice: first in line {}", first.mark.line);
                source.fault(key.mark, Code::Key, message);
            }
            None => named.push((name, key, value)),
        }
    }
    named
}
