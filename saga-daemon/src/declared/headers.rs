//! Headers that a definition adds to the requests of a call.

use minijinja::Value;
use reqwest::header::{HeaderName, HeaderValue};
use saga_worker::HttpRequest;

use super::fault::Code;
use super::nearest::nearest;
use super::node::Node;
use super::secret::SecretSource;
use super::source::Source;
use super::text::{Part, Secrets, Text, to_text};
use super::values;

/// Most headers of one mapping.
const HEADERS_MAX: usize = 50;
/// Longest value that is sent.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Headers that belong to the connection.
const OF_CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept-encoding",
];
/// Headers that belong to the participant protocol.
const OF_PROTOCOL: [&str; 8] = [
    "content-type",
    "idempotency-key",
    "traceparent",
    "x-saga-id",
    "x-saga-step",
    "x-saga-op",
    "x-saga-attempt",
    "x-saga-barrier",
];
/// Headers whose value is a credential: it must not stand in a file.
const OF_CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// A header with the text of its value.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) value: Text,
}

/// Reads a mapping of headers.
pub(super) fn read(source: &Source<'_>, node: &Node) -> Vec<Header> {
    let entries = values::map(source, node, "header");
    if entries.len() > HEADERS_MAX {
        let message =
            format!("there are {} headers: expected at most {HEADERS_MAX}", entries.len());
        source.fault(node.mark, Code::Header, message);
    }
    entries.into_iter().filter_map(|(name, key, value)| header(source, name, key, value)).collect()
}

fn header(source: &Source<'_>, name: &str, key: &Node, value: &Node) -> Option<Header> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    let refused = match &parsed {
        None => Some(format!("{name:?} is no name of a header")),
        Some(name) if OF_CONNECTION.contains(&name.as_str()) => {
            Some(format!("`{name}` belongs to the connection: it cannot be set"))
        }
        Some(name) if OF_PROTOCOL.contains(&name.as_str()) => {
            Some(format!("`{name}` belongs to the participant protocol: it cannot be set"))
        }
        Some(_) => None,
    };
    if let Some(message) = refused {
        source.fault(key.mark, Code::Header, message);
    }
    let text = values::text(source, value, "the value of the header")?;
    let value_text = Text::read(source, value.mark, text, Secrets::Allowed);
    let name = parsed?;
    if OF_CREDENTIALS.contains(&name.as_str()) && value_text.secrets().next().is_none() {
        let message = format!(
            "`{name}` is a credential: expected its secret by reference, such as \"Bearer secret://PAYMENTS_TOKEN\""
        );
        let scheme = text.split_whitespace().find(|word| word.contains("://"));
        let scheme = scheme.and_then(|word| word.split("://").next());
        let help = scheme
            .and_then(|word| nearest(word, ["secret"]))
            .filter(|_| !text.contains("secret://"));
        let help = help.map(|meant| format!("did you mean `{meant}://`?"));
        source.fault_unshown(value.mark, Code::Header, message, help);
    }
    for part in &value_text.parts {
        if let Part::Literal(literal) = part
            && !is_printable(literal)
        {
            let message = format!(
                "the value of `{name}` holds what a header cannot carry: expected printable ASCII in one line"
            );
            source.fault(value.mark, Code::Header, message);
        }
    }
    Some(Header { name, value: value_text })
}

impl Header {
    /// Puts the header into a request. Says in words why it cannot, naming the header and never a
    /// secret; a missing secret is the operator's to mend, so it is told apart.
    pub(super) fn fill(
        &self,
        scope: &Value,
        secrets: &SecretSource,
        request: &mut HttpRequest,
    ) -> Result<(), HeaderFault> {
        let mut text = String::new();
        let mut is_secret = false;
        for part in &self.value.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Expression(expression) => {
                    let value =
                        expression.value(scope).and_then(|value| to_text(expression, &value));
                    text.push_str(&value.map_err(HeaderFault::Value)?);
                }
                Part::Secret(name) => {
                    let secret = secrets.resolve(name).map_err(HeaderFault::Secret)?;
                    text.push_str(&secret);
                    request.keep_secret(secret);
                    is_secret = true;
                }
            }
        }
        let is_good = is_printable(&text) && text.len() <= VALUE_BYTES_MAX;
        let value = HeaderValue::from_str(&text).ok().filter(|_| is_good);
        let Some(mut value) = value else {
            let why = format!("the header `{}` would hold what a header cannot carry", self.name);
            return Err(HeaderFault::Value(why));
        };
        value.set_sensitive(is_secret);
        request.set_header(self.name.clone(), value);
        Ok(())
    }
}

/// Whether a header can carry a text: other alphabets are read differently by every server.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// Why a header could not be filled in.
pub(super) enum HeaderFault {
    /// The payload does not make a value.
    Value(String),
    /// A secret is missing.
    Secret(String),
}
