//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a program can check.
//!
//! Each rule is a function from the tree of files to its findings, and each has a test that plants a
//! violation. `tree` holds the files, `rust` and `manifest` read them, the other modules are rules.

mod layers;
mod leftovers;
mod manifest;
mod map;
mod purity;
mod rust;
mod size;
mod sql;
mod sql_files;
mod tree;
mod vocabulary;

use std::fmt;
use std::process::ExitCode;

pub(crate) use tree::Tree;

use crate::{text, workspace};

/// Something that is to be mended, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    /// What is wrong and what to do about it.
    what: String,
}

const RULES: [fn(&Tree) -> Vec<Finding>; 8] = [
    purity::check,
    layers::check,
    size::check,
    sql::check,
    sql_files::check,
    leftovers::check,
    map::check,
    vocabulary::check,
];

/// Checks the workspace and tells by the exit code whether it is tidy.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let tree = Tree::load(&workspace::root())?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to mend", tree.files().len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {}", text::count(findings.len(), "finding"));
    Ok(ExitCode::FAILURE)
}

/// Every finding of every rule, by file and line.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_and_line_as_editors_read_it() {
        let finding = Finding::new("saga-core/src/lib.rs", 7, "mend it");
        assert_eq!(finding.to_string(), "saga-core/src/lib.rs:7: mend it");
    }
}
