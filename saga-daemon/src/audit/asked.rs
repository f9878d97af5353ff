//! What a request asks for, as far as the trail keeps it: no secret, no payload, nothing without bound.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use saga_core::{Command, IdempotencyKey};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::problem::{Kind, Problem};
use crate::routes::Route;

/// The header of the key under which a request can be repeated.
const REQUEST_ID: HeaderName = HeaderName::from_static("idempotency-key");
/// The fields of bodies that are kept beside the reason. What is not among them, such as the output
/// that a `skip` assumes, stays out of the trail.
const KEPT: [&str; 7] = ["actor", "filter", "dry_run", "rate", "step", "saga_id", "after"];
/// Most of that, in bytes of JSON.
const DETAIL_LEN_MAX: usize = 16 * 1024;

/// Reason and details of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
}

impl Asked {
    /// Reads a body. One that is no object has neither; its handler will refuse it.
    ///
    /// # Errors
    /// When there are more details than the trail keeps: nobody may hide what they do in its length.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
            return Ok(Self::default());
        };
        let reason = fields.get("reason").and_then(Value::as_str);
        let reason = reason.map(|reason| plain(reason, Command::TEXT_LEN_MAX));
        let assume = fields.remove("assume").and_then(|assume| kind(&assume));
        let mut kept: Map<String, Value> =
            fields.into_iter().filter(|(name, _)| KEPT.contains(&name.as_str())).collect();
        kept.extend(assume.map(|kind| ("assume".to_owned(), Value::String(kind))));
        let detail = (!kept.is_empty()).then(|| Value::Object(kept).to_string());
        let length = detail.as_ref().map_or(0, String::len);
        if length > DETAIL_LEN_MAX {
            let names = KEPT.join(", ");
            return Err(Problem::new(
                Kind::TooLarge,
                format!(
                    "{names} come to {length} bytes: expected at most {DETAIL_LEN_MAX}, so that the audit trail can hold them"
                ),
            ));
        }
        Ok(Self { reason, detail })
    }
}

/// What a `skip` assumes, without the output.
fn kind(assume: &Value) -> Option<String> {
    let word = match assume {
        Value::String(word) => Some(word),
        Value::Object(fields) => fields.keys().next(),
        _ => None,
    };
    word.map(|word| plain(word, 32))
}

/// The key under which a request can be repeated, made up if there is none, so that the trail and what
/// the request leads to have the same. `None` where the route takes none, or the request's is no key.
pub(super) fn request_id(route: &Route, headers: &mut HeaderMap) -> Option<String> {
    let takes_one =
        route.parameters.iter().any(|p| p.name.eq_ignore_ascii_case(REQUEST_ID.as_str()));
    if !takes_one {
        return None;
    }
    if !headers.contains_key(REQUEST_ID) {
        let made = Uuid::new_v4().to_string();
        let value = HeaderValue::from_str(&made).expect("digits and hyphens are visible ASCII");
        headers.insert(REQUEST_ID, value);
        return Some(made);
    }
    let mut values = headers.get_all(REQUEST_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let key = IdempotencyKey::new(std::str::from_utf8(value.as_bytes()).ok()?).ok()?;
    Some(key.as_str().to_owned())
}

/// A text without control characters and of at most so many bytes.
pub(super) fn plain(text: &str, bytes_max: usize) -> String {
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut plain = String::new();
    for c in text.chars().map(printable) {
        if plain.len() + c.len_utf8() > bytes_max {
            break;
        }
        plain.push(c);
    }
    plain
}

/// The text, if it is one small word.
pub(super) fn word(text: &str) -> Option<&str> {
    let small = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase());
    small.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_and_details_are_kept_and_an_assumed_output_is_not() {
        let body = r#"{"reason": "by hand\u0000", "step": "pay", "assume": {"processed": {"card": "4711"}}, "key": "sk_x"}"#;
        let asked = Asked::read(body.as_bytes()).unwrap();
        assert_eq!(asked.reason.as_deref(), Some("by hand\u{fffd}"));
        assert_eq!(asked.detail.as_deref(), Some(r#"{"assume":"processed","step":"pay"}"#));
        for nothing in ["", "7", "[]", "{", r#"{"reason": 7}"#, r#"{"assume": 7}"#] {
            assert_eq!(Asked::read(nothing.as_bytes()).unwrap(), Asked::default(), "{nothing}");
        }
    }

    #[test]
    fn more_details_than_the_trail_holds_are_refused() {
        let body = |length| format!(r#"{{"filter": {{"text": "{}"}}}}"#, "x".repeat(length));
        assert!(Asked::read(body(16_000).as_bytes()).unwrap().detail.is_some());
        let problem = Asked::read(body(17_000).as_bytes()).unwrap_err();
        assert_eq!(problem.kind(), Kind::TooLarge);
        assert!(problem.body().detail.contains("16384"), "{}", problem.body().detail);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(plain("éé", 3), "é");
        assert_eq!(plain("a\nb", 10), "a\u{fffd}b");
        assert_eq!((word("retry"), word("Retry"), word("")), (Some("retry"), None, None));
    }
}
