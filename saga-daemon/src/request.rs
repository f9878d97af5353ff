//! Reading requests: everything is checked here, once, and every fault is a problem with a name.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use saga_core::{Payload, SagaId};
use tokio::time::timeout;

use crate::access::Principal;
use crate::problem::{Kind, Problem};
use crate::service::{App, Limits};

/// Longest `?wait=`.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// Deepest nesting of a body.
const DEPTH_MAX: usize = 64;

/// A request whose route, caller and parameters have been checked.
#[derive(Debug)]
pub(crate) struct Call {
    path: HashMap<String, String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    pub(crate) principal: Principal,
    /// JSON text of a POST; empty for other methods and for an empty body.
    pub(crate) body: String,
}

impl FromRequest<App> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, app).await.map_err(|_| {
            Problem::new(Kind::Malformed, "the path holds a percent code that is not UTF-8 text")
        })?;
        for (name, value) in path.iter() {
            expect_printed(name, value)?;
        }
        let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let query = read_query(parts.uri.query().unwrap_or_default())?;
        let principal = parts.extensions.remove::<Principal>().ok_or_else(|| {
            Problem::new(Kind::Internal, "nobody has checked who makes this request")
        })?;
        let body = match parts.method {
            Method::POST => read_body(&read_bytes(&parts.headers, body, app.limits()).await?)?,
            _ => String::new(),
        };
        Ok(Self { path, query, headers: parts.headers, principal, body })
    }
}

impl Call {
    /// A part of the path.
    pub(crate) fn part(&self, name: &str) -> &str {
        self.path.get(name).map_or("", String::as_str)
    }

    /// The saga that the path names.
    pub(crate) fn saga(&self) -> Result<SagaId, Problem> {
        let text = self.part("id");
        text.parse().map_err(|_| {
            Problem::field("id", text, "a UUID like 0192d3a4-5b6c-7d8e-9fa0-b1c2d3e4f5a6")
        })
    }

    /// A parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query as the type it is meant to be.
    pub(crate) fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let text = self.parameter(name);
        text.map(|text| text.parse().map_err(|_| Problem::field(name, text, expected))).transpose()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::field(name, "(several values)", "the header at most once"));
        }
        let text = std::str::from_utf8(value.as_bytes()).ok();
        let text = text.ok_or_else(|| Problem::field(name, "(bytes)", "UTF-8 text"))?;
        Ok(Some(text))
    }

    /// How long to wait: `?wait=30s`.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Problem> {
        let expected = "a duration from 0s to 60s, such as 30s or 500ms";
        let Some(text) = self.parameter("wait") else { return Ok(None) };
        let wait = parse_duration(text).filter(|wait| *wait <= WAIT_MAX);
        wait.map(Some).ok_or_else(|| Problem::field("wait", text, expected))
    }

    /// The log positions that a header of entity tags names; `None` for `*`.
    pub(crate) fn tags(&self, name: &str) -> Result<Option<Tags>, Problem> {
        let Some(text) = self.header(name)? else { return Ok(None) };
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        let tag = |tag: &str| {
            let opaque =
                tag.trim().trim_start_matches("W/").strip_prefix('"')?.strip_suffix('"')?;
            opaque.parse().ok()
        };
        let seqs: Option<Vec<u64>> = text.split(',').map(tag).collect();
        let expected = "entity tags as the API gave them, such as \"7\", or *";
        seqs.map(|seqs| Some(Tags::Of(seqs))).ok_or_else(|| Problem::field(name, text, expected))
    }
}

/// The entity tags of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Whatever there is.
    Any,
    /// These positions.
    Of(Vec<u64>),
}

impl Tags {
    /// Whether a saga at this position is meant.
    pub(crate) fn match_seq(&self, seq: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Of(seqs) => seqs.contains(&seq),
        }
    }

    /// The one position that is meant; `None` for any or one of several.
    pub(crate) fn only(&self) -> Option<u64> {
        match self {
            Self::Of(seqs) if seqs.len() == 1 => seqs.first().copied(),
            Self::Any | Self::Of(_) => None,
        }
    }
}

/// Reads `500ms`, `30s`, `2m`, `1h` or `7d`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(ms)?))
}

/// The pairs of a query, each name at most once.
pub(crate) fn read_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = decode(name)
            .zip(decode(value))
            .ok_or_else(|| Problem::field("query", pair, "percent-encoded UTF-8 text"))?;
        expect_printed("query", &decoded.0)?;
        expect_printed(&decoded.0, &decoded.1)?;
        if pairs.iter().any(|(known, _)| *known == decoded.0) {
            return Err(Problem::field(&decoded.0, &decoded.1, "the parameter at most once"));
        }
        pairs.push(decoded);
    }
    Ok(pairs)
}

/// Not every database can be asked for a text with control characters, and no name or key has any.
pub(crate) fn expect_printed(field: &str, text: &str) -> Result<(), Problem> {
    match text.chars().any(char::is_control) {
        true => Err(Problem::field(field, text, "text without control characters")),
        false => Ok(()),
    }
}

/// The same of what people write, which may have several lines.
pub(crate) fn expect_readable(field: &str, text: &str) -> Result<(), Problem> {
    expect_printed(field, &text.replace(['\r', '\n', '\t'], " "))
}

fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let code =
                    bytes.get(at + 1..at + 3).filter(|c| c.iter().all(u8::is_ascii_hexdigit));
                decoded.push(u8::from_str_radix(std::str::from_utf8(code?).ok()?, 16).ok()?);
                at += 3;
            }
            byte => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// The body of a POST as it comes, which has to be declared as JSON.
pub(crate) async fn read_bytes(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    expect_json(headers)?;
    let read = Limited::new(body, limits.body_bytes_max).collect();
    let bytes = timeout(limits.body_within, read).await.map_err(|_| {
        let within = limits.body_within.as_secs();
        let detail = format!("the body did not arrive within {within} s: send it at once");
        Problem::new(Kind::TooSlow, detail)
    })?;
    Ok(bytes.map_err(|error| unreadable(&*error, limits.body_bytes_max))?.to_bytes())
}

/// A page of another origin can post to a server on this machine, but not with this media type
/// unless the server agrees, which this one does not: so it is asked for even of an empty body.
fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!(
        "`Content-Type` is {media_type:?}: expected application/json (curl: -H 'Content-Type: application/json', or --json)"
    );
    Err(Problem::new(Kind::NotJson, detail))
}

fn unreadable(error: &(dyn std::error::Error + 'static), bytes_max: usize) -> Problem {
    if error.is::<LengthLimitError>() {
        let detail = format!("the body is longer than {bytes_max} bytes: send less");
        return Problem::new(Kind::TooLarge, detail);
    }
    Problem::new(Kind::Malformed, "the body broke off: send it again")
}

fn read_body(bytes: &[u8]) -> Result<String, Problem> {
    let bad = |detail: String| Problem::new(Kind::Malformed, detail);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        bad(format!("the body is not UTF-8 text from byte {} on", error.valid_up_to()))
    })?;
    if Payload::depth_of(text) > DEPTH_MAX {
        return Err(bad(format!(
            "the body is nested more than {DEPTH_MAX} deep: send flatter JSON"
        )));
    }
    if !text.trim().is_empty() {
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_fit() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for hostile in
            ["", "30", "s", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse_duration(hostile), None, "{hostile}");
        }
    }

    #[test]
    fn a_query_is_decoded_and_refused_where_it_is_no_text() {
        let pairs = read_query("key=order%2017&status=stuck&&name=a+b").unwrap();
        let texts: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(texts, [("key", "order 17"), ("status", "stuck"), ("name", "a b")]);
        for hostile in ["a=%ff", "a=%", "a=%zz", "a=%+1", "a=1&a=2"] {
            assert!(read_query(hostile).is_err(), "{hostile}");
        }
    }

    #[test]
    fn brackets_count_only_outside_of_strings() {
        assert_eq!(Payload::depth_of(r#"{"a": ["[[[{", "\"[["]}"#), 2);
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert!(read_body(deep.as_bytes()).is_err());
        assert!(read_body(b"{\"a\": }").is_err() && read_body(b"\xff").is_err());
        assert_eq!(read_body(b" {} \n").unwrap(), "{}");
    }
}
