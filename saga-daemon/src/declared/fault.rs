//! What is wrong with definitions, and where, in the words of a compiler.

use std::fmt;

use serde::Serialize;

/// Everything that is wrong with some files; never empty.
///
/// Shown like a compiler's messages; as JSON it is the list of its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults {
    faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, as it was named.
    pub file: String,
    /// Its line, from 1 on; 0 where the fault is the file itself.
    pub line: usize,
    /// Its column in characters, from 1 on; 0 where the fault is the file itself.
    pub column: usize,
    /// A stable word for the kind of fault.
    pub code: Code,
    /// What is wrong, and what was expected.
    pub message: String,
    /// The nearest valid spelling, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The text of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many characters from the column on the fault covers.
    #[serde(skip)]
    pub(super) width: usize,
}

/// The kind of a fault, stable across versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The file or folder cannot be read, is too large, or has the wrong name.
    File,
    /// The text is not the YAML that is understood here.
    Yaml,
    /// A key that is not known, stands twice, or is missing.
    Key,
    /// A value of the wrong type.
    Type,
    /// A value that is out of bounds or ill-formed.
    Value,
    /// The steps do not make a saga: order, names, groups.
    Saga,
    /// A URL that cannot or may not be called.
    Url,
    /// An expression that cannot be read, or reads what is not there.
    Expression,
    /// A header that may not be set, or not like this.
    Header,
    /// A name that stands for two things.
    Duplicate,
}

impl Faults {
    /// `Ok` with the value when there are no faults.
    pub(super) fn none_or<T>(faults: Vec<Fault>, value: T) -> Result<T, Self> {
        if faults.is_empty() { Ok(value) } else { Err(Self::of(faults)) }
    }

    /// In the order in which a reader meets them.
    pub(super) fn of(mut faults: Vec<Fault>) -> Self {
        faults.sort_by(|a, b| {
            (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
        });
        faults.dedup();
        Self { faults }
    }

    /// The faults, by file, line and column.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there are no faults without a fault")]
    pub fn len(&self) -> usize {
        self.faults.len()
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        match self.faults.len() {
            1 => write!(f, "1 fault"),
            count => write!(f, "{count} faults"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            writeln!(f, "{}: {}", self.file, self.message)?;
        } else {
            writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        }
        let gutter = self.line.to_string().len();
        if let Some(source) = &self.source {
            let (shown, column) = window(source, self.column.saturating_sub(1));
            let room = shown.chars().count().saturating_sub(column);
            let carets = "^".repeat(self.width.min(room).max(1));
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{} | {shown}", self.line)?;
            writeln!(f, "{:gutter$} | {:column$}{carets}", "", "")?;
        }
        match &self.help {
            Some(help) => writeln!(f, "{:gutter$} = {help}", ""),
            None => Ok(()),
        }
    }
}

/// The part of a long line around a column, and the column in it. What does not print is shown as a
/// space, so that a line cannot move the cursor of who reads it.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let from = if column + 20 > WIDTH { column - 40 } else { 0 };
    let printed = |c: char| if c.is_control() { ' ' } else { c };
    (line.chars().skip(from).take(WIDTH).map(printed).collect(), column - from)
}
