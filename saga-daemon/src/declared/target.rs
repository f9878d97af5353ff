//! Where a call goes: the fixed server, and a path and query that may hold expressions.

use minijinja::Value;
use reqwest::Url;

use super::fault::Code;
use super::node::shorten;
use super::source::{Mark, Source};
use super::text::{Part, Secrets, Text, to_text};

/// Stands for a value while a file is checked.
const PLACEHOLDER: &str = "x";

/// The URL of a call. Scheme, host and port are fixed; a value fills a part of the path or of the
/// query and never adds one.
#[derive(Debug)]
pub(super) struct Target {
    /// The server and the path below which the call stays; ends with a slash.
    pub(super) base: Url,
    pub(super) path: Text,
    pub(super) query: Option<Text>,
}

impl Target {
    /// Reads a full URL, or a path below the participant's base.
    pub(super) fn read(
        source: &Source<'_>,
        mark: Mark,
        text: &str,
        participant: Option<&Url>,
    ) -> Option<Self> {
        // An expression before it is caught when the server is read.
        let is_scheme = |at: &usize| !text[..*at].contains(['/', '?', '#']);
        let scheme = text.find("://").filter(is_scheme);
        let (base, rest) = match (scheme, participant) {
            (Some(scheme), None) => {
                let (server, rest) = split_server(text, scheme + 3);
                (base(source, mark, server)?, rest)
            }
            (None, Some(base)) => (base.clone(), text.trim_start_matches('/')),
            (Some(_), Some(base)) => {
                let message = format!(
                    "{:?} is a full URL beside a participant: expected a path below {base}, or no participant",
                    shorten(text)
                );
                source.fault(mark, Code::Url, message);
                return None;
            }
            (None, None) => {
                let message = format!(
                    "{:?} is no full URL: expected one such as https://payments.example/capture, or a `participant` for the step",
                    shorten(text)
                );
                source.fault(mark, Code::Url, message);
                return None;
            }
        };
        let mut path = Text::read(source, mark, rest, Secrets::Refused);
        let query = split_query(&mut path);
        let target = Self { base, path, query };
        target.check(source, mark).then_some(target)
    }

    /// Faults that show without a payload.
    fn check(&self, source: &Source<'_>, mark: Mark) -> bool {
        let mut is_good = true;
        let parts = self.path.parts.iter().chain(self.query.iter().flat_map(|text| &text.parts));
        for part in parts {
            let Part::Literal(literal) = part else { continue };
            let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '#');
            if let Some(c) = literal.chars().find(|c| odd(*c)) {
                let message = format!("a URL must not hold {c:?}: expected it percent-encoded");
                source.fault(source.within(mark, &c.to_string()), Code::Url, message);
                is_good = false;
            }
        }
        let filled = self.assemble(|_| Ok(PLACEHOLDER.to_owned()));
        if let Err(message) = filled.and_then(|(path, query)| self.join(&path, query.as_deref())) {
            source.fault(mark, Code::Url, message);
            is_good = false;
        }
        is_good
    }

    /// The URL with its values, percent-encoded.
    pub(super) fn fill(&self, scope: &Value) -> Result<Url, String> {
        let (path, query) = self.assemble(|part| match part {
            Part::Expression(expression) => to_text(expression, &expression.value(scope)?)
                .and_then(|text| match text.is_empty() {
                    true => Err(format!("`{}` is empty", expression.text())),
                    false => Ok(encode(&text)),
                }),
            Part::Literal(_) | Part::Secret(_) => Ok(String::new()),
        })?;
        self.join(&path, query.as_deref())
    }

    /// Path and query with `fill` in the place of every expression.
    fn assemble(
        &self,
        fill: impl Fn(&Part) -> Result<String, String>,
    ) -> Result<(String, Option<String>), String> {
        let filled = |text: &Text| -> Result<String, String> {
            let part = |part: &Part| match part {
                Part::Literal(literal) => Ok(literal.clone()),
                other => fill(other),
            };
            text.parts.iter().map(part).collect()
        };
        Ok((filled(&self.path)?, self.query.as_ref().map(filled).transpose()?))
    }

    /// The one place where a URL is put together, and the check that nothing has led it astray.
    fn join(&self, path: &str, query: Option<&str>) -> Result<Url, String> {
        let is_dots = |segment: &str| {
            matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
        };
        if path.split('/').any(is_dots) {
            return Err("a part of the path is `.` or `..`, which would lead elsewhere".to_owned());
        }
        let whole = format!("{}{path}", self.base.path());
        let mut url = self.base.clone();
        url.set_path(&whole);
        url.set_query(query);
        if url.path().split('/').count() != whole.split('/').count() {
            return Err("the path has changed its depth".to_owned());
        }
        Ok(url)
    }

    /// Where it goes when nothing has to be filled in.
    pub(super) fn fixed(&self) -> Result<Url, String> {
        let (path, query) = self.assemble(|_| Ok(PLACEHOLDER.to_owned()))?;
        self.join(&path, query.as_deref())
    }

    pub(super) fn is_literal(&self) -> bool {
        self.path.is_literal() && self.query.as_ref().is_none_or(Text::is_literal)
    }
}

/// Reads the base URL of a participant, or the server of a full URL.
pub(super) fn base(source: &Source<'_>, mark: Mark, text: &str) -> Option<Url> {
    if text.contains("{{") || text.contains("secret://") {
        let message = "a server is fixed: expected no expression and no secret in scheme, host and port, nor in a participant's URL";
        source.fault(mark, Code::Url, message);
        return None;
    }
    let faulty = |what: &str| {
        let example = "expected one such as https://payments.example/v1";
        // What stands before an `@` may be a password.
        match text.contains('@') {
            true => source.fault_unshown(
                mark,
                Code::Url,
                format!("this URL {what}: {example}"),
                None::<&str>,
            ),
            false => {
                source.fault(mark, Code::Url, format!("{:?} {what}: {example}", shorten(text)))
            }
        }
    };
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            faulty(&format!("is no URL ({error})"));
            return None;
        }
    };
    if url.cannot_be_a_base() || url.query().is_some() || url.fragment().is_some() {
        faulty("is no base URL, without query and fragment");
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// Splits a full URL behind its authority, which begins at `from`.
fn split_server(text: &str, from: usize) -> (&str, &str) {
    let end = text[from..].find(['/', '?', '#', '\\']).map_or(text.len(), |at| from + at);
    let (server, rest) = text.split_at(end);
    (server, rest.strip_prefix('/').unwrap_or(rest))
}

/// Takes the parts behind the first `?` out of a path.
fn split_query(path: &mut Text) -> Option<Text> {
    let is_mark = |part: &Part| matches!(part, Part::Literal(literal) if literal.contains('?'));
    let at = path.parts.iter().position(is_mark)?;
    let mut query = path.parts.split_off(at);
    if let Part::Literal(literal) = &mut query[0] {
        let (before, after) = literal.split_once('?').unwrap_or((literal, ""));
        path.parts.push(Part::Literal(before.to_owned()));
        *literal = after.to_owned();
    }
    Some(Text { parts: query })
}

/// Everything but letters, digits and `-._~` percent-encoded, so that a value stays one part.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
