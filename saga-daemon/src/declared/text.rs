//! Texts with expressions and secrets in them.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::expression::{Expression, quoted};
use super::fault::Code;
use super::secret;
use super::source::{Mark, Source};

/// A text in parts, taken apart when its file is read: what a payload brings is never looked at as
/// an expression or the name of a secret.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) parts: Vec<Part>,
}

/// A part of a [`Text`].
#[derive(Debug)]
pub(super) enum Part {
    Literal(String),
    Expression(Box<Expression>),
    /// The name of a secret.
    Secret(String),
}

/// Whether `secret://NAME` means something in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    Allowed,
    Refused,
}

impl Text {
    /// Takes a text apart. Faults go to the source; what could be read is returned.
    pub(super) fn read(source: &Source<'_>, mark: Mark, text: &str, secrets: Secrets) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("{{") {
            literal(source, mark, &rest[..at], secrets, &mut parts);
            rest = &rest[at + 2..];
            let Some(end) = end_of_expression(rest) else {
                let place = source.within(mark, "{{");
                source.fault(place, Code::Expression, "`{{` is not closed: expected `}}`");
                return Self { parts };
            };
            match Expression::compile(&rest[..end]) {
                Ok(expression) => parts.push(Part::Expression(Box::new(expression))),
                Err(fault) => {
                    let place = source.within(mark, &fault.part);
                    source.fault_with(place, Code::Expression, fault.message, fault.help);
                }
            }
            rest = &rest[end + 2..];
        }
        literal(source, mark, rest, secrets, &mut parts);
        Self { parts }
    }

    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expression(expression) => Some(&**expression),
            Part::Literal(_) | Part::Secret(_) => None,
        })
    }

    pub(super) fn expressions_mut(&mut self) -> impl Iterator<Item = &mut Expression> {
        self.parts.iter_mut().filter_map(|part| match part {
            Part::Expression(expression) => Some(&mut **expression),
            Part::Literal(_) | Part::Secret(_) => None,
        })
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Expression(_) => None,
        })
    }

    /// Whether it says the same for every call.
    pub(super) fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }
}

/// A value as a part of a text: only what has one obvious form.
pub(super) fn to_text(expression: &Expression, value: &Value) -> Result<String, String> {
    let what = match value.kind() {
        ValueKind::String | ValueKind::Number => return Ok(value.to_string()),
        // As in JSON, and not as the expression language would write it.
        ValueKind::Bool => return Ok(value.is_true().to_string()),
        ValueKind::Undefined => "is not there",
        ValueKind::None => "is null",
        _ => "is a list or a mapping",
    };
    Err(format!("`{}` {what}: expected a text, a number or a truth value", expression.text()))
}

/// Where an expression ends: at `}}` outside of quotes and of braces of its own.
fn end_of_expression(text: &str) -> Option<usize> {
    let (mut at, mut open) = (0, 0_usize);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' | '\'' => at += quoted(&text[at..], c) - c.len_utf8(),
            '{' => open += 1,
            '}' if open > 0 => open -= 1,
            '}' if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

fn literal(source: &Source<'_>, mark: Mark, text: &str, secrets: Secrets, parts: &mut Vec<Part>) {
    for (sign, what) in [("{%", "statements are"), ("{#", "comments are"), ("}}", "a lone `}}` is")]
    {
        if text.contains(sign) {
            let message = format!("{what} not understood: expected only expressions in {{{{ }}}}");
            source.fault(source.within(mark, sign), Code::Expression, message);
        }
    }
    let mut rest = text;
    while let Some(at) = rest.find(secret::SCHEME) {
        let name = &rest[at + secret::SCHEME.len()..];
        let len = name.find(|c: char| !secret::is_part(c)).unwrap_or(name.len());
        let name = &name[..len];
        if at > 0 {
            parts.push(Part::Literal(rest[..at].to_owned()));
        }
        let place = source.within(mark, &rest[at..at + secret::SCHEME.len() + len]);
        match (secrets, secret::fault_of(name)) {
            (Secrets::Refused, _) => {
                let message = "a secret may stand in the value of a header, and nowhere else";
                source.fault(place, Code::Value, message);
            }
            (Secrets::Allowed, Some(message)) => source.fault(place, Code::Value, message),
            (Secrets::Allowed, None) => parts.push(Part::Secret(name.to_owned())),
        }
        rest = &rest[at + secret::SCHEME.len() + len..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
}
