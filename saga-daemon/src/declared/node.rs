//! YAML as a tree whose every node knows where it stands.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::fault::Code;
use super::source::{Mark, Source};

/// Deepest nesting of a file.
const DEPTH_MAX: usize = 32;
/// Most nodes of a file, with every alias counted as what it stands for.
const NODES_MAX: usize = 20_000;

/// The remedy for what YAML makes of an expression without quotes.
pub(super) const UNQUOTED: &str = "put a text with an expression in quotes: \"{{ .. }}\"";

/// A value in a file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) value: Value,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Rc<[Node]>),
    Map(Rc<[(Node, Node)]>),
}

/// A scalar: text, or a plain word that means something else.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(Rc<str>),
}

impl Node {
    /// The kind of value, for messages.
    pub(super) fn kind(&self) -> String {
        match &self.value {
            Value::Scalar(Scalar::Null) => "nothing".to_owned(),
            Value::Scalar(Scalar::Bool(value)) => format!("the truth value {value}"),
            Value::Scalar(Scalar::Number(number)) => format!("the number {number}"),
            Value::Scalar(Scalar::Text(text)) => format!("the text {:?}", shorten(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// What to do about an expression without quotes, which YAML takes for a mapping in a mapping.
    pub(super) fn unquoted(&self) -> Option<&'static str> {
        let Value::Map(entries) = &self.value else { return None };
        let is_mapping = |key: &Node| matches!(key.value, Value::Map(_));
        entries.iter().any(|(key, _)| is_mapping(key)).then_some(UNQUOTED)
    }

    fn nodes(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::List(items) => 1 + items.iter().map(Node::nodes).sum::<usize>(),
            Value::Map(entries) => {
                1 + entries.iter().map(|(key, value)| key.nodes() + value.nodes()).sum::<usize>()
            }
        }
    }
}

/// The beginning of a text, for messages.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_owned();
    }
    text.chars().take(59).chain(['…']).collect()
}

/// Reads the one document of a file. `None` when that is not possible; the faults say why.
pub(super) fn read(source: &Source<'_>) -> Option<Node> {
    let mut reader = Reader {
        source,
        parser: Parser::new_from_str(source.text()),
        anchors: HashMap::new(),
        nodes: 0,
    };
    match reader.stream() {
        Ok(node) => Some(node),
        Err(Stop::Scan(error)) => {
            let at = error.marker();
            let mark = Mark { line: at.line(), column: at.col() + 1, width: 1 };
            let line = source.text().lines().nth(at.line().saturating_sub(1)).unwrap_or_default();
            let help = line.contains("{{").then_some(UNQUOTED);
            let message = format!("this is not YAML: {}", error.info());
            source.fault_with(mark, Code::Yaml, message, help);
            None
        }
        Err(Stop::Fault(mark, message)) => {
            source.fault(mark, Code::Yaml, message);
            None
        }
    }
}

/// Why the reading of a file ends early: what comes after cannot be understood.
enum Stop {
    Scan(ScanError),
    Fault(Mark, String),
}

type Item<'a> = (Event<'a>, Mark);

struct Reader<'s, 'a> {
    source: &'s Source<'a>,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'_, 'a> {
    fn next(&mut self) -> Result<Item<'a>, Stop> {
        let (event, span) = match self.parser.next_event() {
            Some(item) => item.map_err(Stop::Scan)?,
            None => (Event::StreamEnd, Span::default()),
        };
        let (start, end) = (span.start, span.end);
        let width = match end.line() == start.line() {
            true => end.col().saturating_sub(start.col()).max(1),
            false => usize::MAX,
        };
        Ok((event, Mark { line: start.line(), column: start.col() + 1, width }))
    }

    fn stream(&mut self) -> Result<Node, Stop> {
        let empty = |mark| {
            Stop::Fault(
                mark,
                "the file is empty: expected one definition, beginning with `name:`".into(),
            )
        };
        let first = Mark { line: 1, column: 1, width: 1 };
        let node = loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Err(empty(first)),
                (Event::Nothing | Event::StreamStart | Event::DocumentStart(_), _) => {}
                item => break self.node(item, 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(_), mark) => {
                    let message = "a second document begins: expected one definition per file";
                    self.source.fault(mark, Code::Yaml, message);
                    break;
                }
                _ => {}
            }
        }
        match &node.value {
            Value::Scalar(Scalar::Null) => Err(empty(node.mark)),
            _ => Ok(node),
        }
    }

    fn node(&mut self, (event, mark): Item<'a>, depth: usize) -> Result<Node, Stop> {
        if depth > DEPTH_MAX {
            let message = format!("this is nested too deeply: expected at most {DEPTH_MAX} levels");
            return Err(Stop::Fault(mark, message));
        }
        self.count(1, mark)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), mark);
                (Value::Scalar(scalar(&text, style)), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), mark);
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), mark);
                (self.map(depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, mark),
            other => {
                return Err(Stop::Fault(mark, format!("this is not YAML: {other:?} stands here")));
            }
        };
        let mark = match value {
            Value::Scalar(_) => mark,
            Value::List(_) | Value::Map(_) => Mark { width: 1, ..mark },
        };
        let node = Node { mark, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items.into())),
                item => items.push(self.node(item, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries = Vec::new();
        loop {
            match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries.into())),
                item => {
                    let key = self.node(item, depth + 1)?;
                    let value = self.next()?;
                    entries.push((key, self.node(value, depth + 1)?));
                }
            }
        }
    }

    fn alias(&mut self, anchor: usize, mark: Mark) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let message = "this alias stands inside what it refers to: a cycle".to_owned();
            return Err(Stop::Fault(mark, message));
        };
        // Bounded work: what an alias stands for has itself passed this count.
        self.count(node.nodes(), mark)?;
        Ok(node)
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!(
                "the file has too many values, aliases counted as what they stand for: expected at most {NODES_MAX}"
            );
            return Err(Stop::Fault(mark, message));
        }
        Ok(())
    }

    fn no_tag(&self, is_tagged: bool, mark: Mark) {
        if is_tagged {
            self.source.fault(mark, Code::Yaml, "tags are not understood: leave out the `!`");
        }
    }
}

/// A scalar by the rules of YAML 1.2's core schema: `no` and `010` are no traps.
fn scalar(text: &str, style: ScalarStyle) -> Scalar {
    if style != ScalarStyle::Plain {
        return Scalar::Text(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ => serde_json::from_str(text).map_or_else(|_| Scalar::Text(text.into()), Scalar::Number),
    }
}
