//! The body of a request: YAML with expressions in its texts, made JSON for each call.

use minijinja::Value as Dynamic;
use serde::Serialize;
use serde_json::Value;

use super::expression::Expression;
use super::fault::Code;
use super::node::{self, Node, Scalar};
use super::source::Source;
use super::text::{Part, Secrets, Text, to_text};

/// Largest body of a request, in bytes of JSON.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A body that is filled in for each call.
#[derive(Debug)]
pub(super) enum Body {
    /// As it stands in the file.
    Fixed(Value),
    /// A text that is one expression: its value keeps its type.
    Typed(Box<Expression>),
    /// A text with expressions in it.
    Text(Text),
    List(Vec<Body>),
    Map(Vec<(String, Body)>),
}

impl Body {
    pub(super) fn read(source: &Source<'_>, node: &Node) -> Self {
        match &node.value {
            node::Value::Scalar(Scalar::Null) => Self::Fixed(Value::Null),
            node::Value::Scalar(Scalar::Bool(value)) => Self::Fixed((*value).into()),
            node::Value::Scalar(Scalar::Number(number)) => {
                Self::Fixed(Value::Number(number.clone()))
            }
            node::Value::Scalar(Scalar::Text(text)) => Self::text(source, node, text),
            node::Value::List(items) => {
                Self::List(items.iter().map(|item| Self::read(source, item)).collect())
            }
            node::Value::Map(entries) => Self::map(source, node, entries),
        }
    }

    fn text(source: &Source<'_>, node: &Node, text: &str) -> Self {
        let mut text = Text::read(source, node.mark, text, Secrets::Refused);
        match text.parts.pop() {
            None => Self::Fixed("".into()),
            Some(Part::Expression(only)) if text.parts.is_empty() => Self::Typed(only),
            Some(Part::Literal(only)) if text.parts.is_empty() => Self::Fixed(only.into()),
            Some(last) => {
                text.parts.push(last);
                Self::Text(text)
            }
        }
    }

    fn map(source: &Source<'_>, node: &Node, entries: &[(Node, Node)]) -> Self {
        let mut fields: Vec<(String, Self)> = Vec::new();
        for (key, value) in entries {
            let node::Value::Scalar(Scalar::Text(name)) = &key.value else {
                let message = format!("expected the name of a field, found {}", key.kind());
                source.fault_with(key.mark, Code::Type, message, node.unquoted());
                continue;
            };
            if name.contains("{{") {
                let message = "the name of a field is fixed: expected no expression in it";
                source.fault(key.mark, Code::Expression, message);
            }
            if fields.iter().any(|(other, _)| **other == **name) {
                source.fault(key.mark, Code::Key, format!("the field `{name}` stands twice"));
            }
            fields.push((name.to_string(), Self::read(source, value)));
        }
        Self::Map(fields)
    }

    /// Every expression, and whether it is a part of a text.
    pub(super) fn each_expression(&mut self, visit: &mut impl FnMut(&mut Expression, bool)) {
        match self {
            Self::Fixed(_) => {}
            Self::Typed(expression) => visit(expression, false),
            Self::Text(text) => {
                text.expressions_mut().for_each(|expression| visit(expression, true))
            }
            Self::List(items) => items.iter_mut().for_each(|item| item.each_expression(visit)),
            Self::Map(fields) => {
                fields.iter_mut().for_each(|(_, body)| body.each_expression(visit))
            }
        }
    }

    /// Writes the JSON for one call. `own_is_known` is false in a compensation whose action never
    /// gave an output: what a typed expression would read from it is then null.
    pub(super) fn fill(&self, scope: &Dynamic, own_is_known: bool) -> Result<Vec<u8>, String> {
        let mut json = Vec::new();
        self.write(scope, own_is_known, &mut json)?;
        Ok(json)
    }

    fn write(&self, scope: &Dynamic, own_is_known: bool, json: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Fixed(value) => append(value, json)?,
            Self::Typed(expression) => typed(expression, scope, own_is_known, json)?,
            Self::Text(text) => append(&filled(text, scope)?, json)?,
            Self::List(items) => {
                json.push(b'[');
                for (nth, item) in items.iter().enumerate() {
                    json.extend((nth > 0).then_some(b','));
                    item.write(scope, own_is_known, json)?;
                }
                json.push(b']');
            }
            Self::Map(fields) => {
                json.push(b'{');
                for (nth, (name, body)) in fields.iter().enumerate() {
                    json.extend((nth > 0).then_some(b','));
                    append(name, json)?;
                    json.push(b':');
                    body.write(scope, own_is_known, json)?;
                }
                json.push(b'}');
            }
        }
        // Checked after each value, so that many of them cannot add up first.
        match json.len() > BODY_BYTES_MAX {
            true => Err(format!("its body is longer than {BODY_BYTES_MAX} bytes")),
            false => Ok(()),
        }
    }
}

fn append(value: &(impl Serialize + ?Sized), json: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(json, value).map_err(|error| format!("a value has no JSON form: {error}"))
}

/// A text with its values in it.
fn filled(text: &Text, scope: &Dynamic) -> Result<String, String> {
    let mut filled = String::new();
    for part in &text.parts {
        match part {
            Part::Literal(literal) => filled.push_str(literal),
            Part::Expression(expression) => {
                filled.push_str(&to_text(expression, &expression.value(scope)?)?);
            }
            Part::Secret(_) => {}
        }
    }
    Ok(filled)
}

fn typed(
    expression: &Expression,
    scope: &Dynamic,
    own_is_known: bool,
    json: &mut Vec<u8>,
) -> Result<(), String> {
    let value = expression.value(scope)?;
    if !value.is_undefined() {
        return append(&value, json);
    }
    match expression.reads_own && !own_is_known {
        true => append(&Value::Null, json),
        false => Err(format!("`{}` is not there", expression.text())),
    }
}
