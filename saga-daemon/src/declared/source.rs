//! The text of one file, and the faults found in it so far.

use std::cell::RefCell;

use super::fault::{Code, Fault};

/// A place in a file: where it begins, and how many characters of the line it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) line: usize,
    /// From 1 on, in characters.
    pub(super) column: usize,
    pub(super) width: usize,
}

/// One file on its way to a definition.
///
/// Faults go in here instead of ending the reading, so that all are found in one go.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    faults: RefCell<Vec<Fault>>,
    /// Lines that no fault may show.
    unshown: RefCell<Vec<usize>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, faults: RefCell::default(), unshown: RefCell::default() }
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Notes a fault.
    pub(super) fn fault(&self, mark: Mark, code: Code, message: impl Into<String>) {
        self.add(mark, code, message.into(), None);
    }

    /// Notes a fault with its remedy, if there is one.
    pub(super) fn fault_with(
        &self,
        mark: Mark,
        code: Code,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        self.add(mark, code, message.into(), help.map(Into::into));
    }

    /// Notes a fault of a line that holds what must not be repeated, such as a password.
    pub(super) fn fault_unshown(
        &self,
        mark: Mark,
        code: Code,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        self.unshown.borrow_mut().push(mark.line);
        self.add(mark, code, message.into(), help.map(Into::into));
    }

    fn add(&self, mark: Mark, code: Code, message: String, help: Option<String>) {
        self.faults.borrow_mut().push(self.at(mark, code, message, help));
    }

    fn at(&self, mark: Mark, code: Code, message: String, help: Option<String>) -> Fault {
        let line = mark.line.checked_sub(1).and_then(|line| self.text.lines().nth(line));
        Fault {
            file: self.file.to_owned(),
            line: mark.line,
            column: mark.column,
            code,
            message,
            help,
            source: line.map(str::to_owned),
            width: mark.width,
        }
    }

    /// A fault that is not one of this file alone.
    pub(super) fn shared_fault(&self, mark: Mark, message: String) -> Fault {
        self.at(mark, Code::Duplicate, message, None)
    }

    /// A place within a scalar: where `part` stands in the source from the scalar's beginning on,
    /// if it does on the scalar's own lines.
    pub(super) fn within(&self, scalar: Mark, part: &str) -> Mark {
        let lines = self.text.lines().enumerate().skip(scalar.line.saturating_sub(1)).take(100);
        for (number, line) in lines {
            let skipped = if number + 1 == scalar.line { scalar.column - 1 } else { 0 };
            let start = line.char_indices().nth(skipped).map_or(line.len(), |(at, _)| at);
            if let Some(at) = line[start..].find(part) {
                let column = line[..start + at].chars().count() + 1;
                return Mark { line: number + 1, column, width: part.chars().count() };
            }
        }
        scalar
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        let unshown = self.unshown.into_inner();
        let mut faults = self.faults.into_inner();
        for fault in faults.iter_mut().filter(|fault| unshown.contains(&fault.line)) {
            fault.source = None;
        }
        faults
    }
}
