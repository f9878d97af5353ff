//! The body of a request: YAML with expressions in its texts, made JSON for each call.

use minijinja::Value as Dynamic;
use serde_json::{Map, Value};

use super::expression::Expression;
use super::fault::Code;
use super::node::{self, Node, Scalar};
use super::source::Source;
use super::text::{Part, Secrets, Text, to_text};

/// Largest body of a request, in bytes of JSON.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

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
            node::Value::Map(entries) => Self::map(source, entries),
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

    fn map(source: &Source<'_>, entries: &[(Node, Node)]) -> Self {
        let mut fields: Vec<(String, Self)> = Vec::new();
        for (key, value) in entries {
            let node::Value::Scalar(Scalar::Text(name)) = &key.value else {
                let message = format!("expected the name of a field, found {}", key.kind());
                source.fault(key.mark, Code::Type, message);
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

    /// The JSON value for one call. `own_is_known` is false in a compensation whose action never
    /// gave an output: what a typed expression would read from it is then null.
    pub(super) fn fill(&self, scope: &Dynamic, own_is_known: bool) -> Result<Value, String> {
        match self {
            Self::Fixed(value) => Ok(value.clone()),
            Self::Typed(expression) => typed(expression, scope, own_is_known),
            Self::Text(text) => {
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
                Ok(filled.into())
            }
            Self::List(items) => items.iter().map(|item| item.fill(scope, own_is_known)).collect(),
            Self::Map(fields) => {
                let field = |(name, body): &(String, Self)| {
                    Ok((name.clone(), body.fill(scope, own_is_known)?))
                };
                fields.iter().map(field).collect::<Result<Map<_, _>, String>>().map(Value::Object)
            }
        }
    }
}

fn typed(expression: &Expression, scope: &Dynamic, own_is_known: bool) -> Result<Value, String> {
    let value = expression.value(scope)?;
    if value.is_undefined() {
        return match expression.reads_own && !own_is_known {
            true => Ok(Value::Null),
            false => Err(format!("`{}` is not there", expression.text())),
        };
    }
    serde_json::to_value(&value)
        .map_err(|error| format!("`{}` has no JSON form: {error}", expression.text()))
}
