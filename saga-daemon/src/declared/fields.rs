//! Reading a mapping with known keys.

use super::fault::Code;
use super::keys::{Key, Object};
use super::nearest::nearest;
use super::node::{Node, Scalar, UNQUOTED, Value, shorten};
use super::source::{Mark, Source};

/// The entries of a mapping whose keys are all known.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    pub(super) mark: Mark,
    object: &'static Object,
    entries: Vec<(&'static Key, Mark, &'n Node)>,
    /// Keys that were misspelt: they have been reported, and are not missing on top of it.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Reads the keys; unknown, repeated and missing ones are faults. `None` when it is no mapping.
    pub(super) fn open(
        source: &Source<'_>,
        node: &'n Node,
        object: &'static Object,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message = format!(
                "expected a mapping with the keys of a {} ({}), found {}",
                object.name,
                listed(object),
                node.kind()
            );
            source.fault(node.mark, Code::Type, message);
            return None;
        };
        let mut fields = Self { mark: node.mark, object, entries: Vec::new(), meant: Vec::new() };
        for (key, value) in entries.iter() {
            fields.entry(source, key, value);
        }
        fields.missing(source);
        Some(fields)
    }

    fn entry(&mut self, source: &Source<'_>, key: &Node, value: &'n Node) {
        let Value::Scalar(Scalar::Text(name)) = &key.value else {
            let message = format!("expected a key ({}), found {}", listed(self.object), key.kind());
            let help = matches!(key.value, Value::Map(_)).then_some(UNQUOTED);
            return source.fault_with(key.mark, Code::Key, message, help);
        };
        let Some(known) = self.object.key(name) else {
            return self.unknown(source, key.mark, name);
        };
        if let Some((_, first, _)) =
            self.entries.iter().find(|(other, ..)| other.name == known.name)
        {
            let message = format!("the key `{name}` stands twice: first in line {}", first.line);
            return source.fault(key.mark, Code::Key, message);
        }
        self.entries.push((known, key.mark, value));
    }

    fn unknown(&mut self, source: &Source<'_>, mark: Mark, name: &str) {
        let object = self.object;
        let message = format!(
            "a {} has no key `{}`: expected one of {}",
            object.name,
            shorten(name),
            listed(object)
        );
        let keys = object.keys.iter().map(|key| key.name);
        let meant = nearest(name, keys);
        self.meant.extend(meant);
        let help = meant.map(|meant| format!("did you mean `{meant}`?"));
        let help = help.or_else(|| elsewhere(name));
        source.fault_with(mark, Code::Key, message, help);
    }

    fn missing(&self, source: &Source<'_>) {
        let object = self.object;
        let is_there = |name: &str| {
            self.meant.contains(&name) || self.entries.iter().any(|(key, ..)| key.name == name)
        };
        for key in object.keys.iter().filter(|key| key.is_required && !is_there(key.name)) {
            let message = format!("this {} has no `{}`: {}", object.name, key.name, key.about);
            source.fault(self.mark, Code::Key, message);
        }
        let choices = || object.one_of.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let mut chosen = self.entries.iter().filter(|(key, ..)| object.one_of.contains(&key.name));
        let is_meant = object.one_of.iter().any(|name| self.meant.contains(name));
        if chosen.next().is_none() && !object.one_of.is_empty() && !is_meant {
            let message = format!(
                "this {} does nothing: expected one of {}",
                object.name,
                choices().join(", ")
            );
            source.fault(self.mark, Code::Key, message);
        }
        for (key, mark, _) in chosen {
            let message = format!(
                "`{}` stands beside another of {}: expected only one of them",
                key.name,
                choices().join(", ")
            );
            source.fault(*mark, Code::Key, message);
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.find(name).map(|(_, _, node)| *node)
    }

    /// Where a key stands, if it does; else where the mapping begins.
    pub(super) fn mark_of(&self, name: &str) -> Mark {
        self.find(name).map_or(self.mark, |(_, mark, _)| *mark)
    }

    fn find(&self, name: &str) -> Option<&(&'static Key, Mark, &'n Node)> {
        debug_assert!(self.object.key(name).is_some(), "{name} is not in the table of keys");
        self.entries.iter().find(|(key, ..)| key.name == name)
    }
}

/// The keys of an object, for messages.
fn listed(object: &Object) -> String {
    let names: Vec<_> = object.keys.iter().map(|key| key.name).collect();
    names.join(", ")
}

/// What to do about a key that other formats have, or that belongs elsewhere.
fn elsewhere(name: &str) -> Option<String> {
    let help = match name {
        "<<" => "merging is not understood: say once in `defaults` what all steps share",
        "parallel" => "a group stands alone in the list of steps: `- parallel: [..]`",
        "kind" | "type" => {
            "the kind of a step is the key of its call: `action` with `compensation`, `pivot` or `retriable`"
        }
        "attempts_max" | "max_attempts" | "retries" => {
            "retries are bounded by `retry: { attempts: 3 }`"
        }
        _ => return None,
    };
    Some(help.to_owned())
}
