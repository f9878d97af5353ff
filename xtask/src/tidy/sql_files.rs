//! The `.sql` files themselves: each is used, both dialects have the same, migrations have no gaps.

use std::collections::BTreeSet;

use super::{Finding, Tree};

const MIGRATIONS: &str = "migrations/";
const DIALECTS: [&str; 2] = ["sqlite", "postgres"];

/// Finds unused statements, dialects that differ in their file names, and gaps in the migrations.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = unused(tree);
    findings.extend(different_dialects(tree));
    findings.extend(badly_numbered(tree));
    findings
}

/// Statements that no code of their crate includes by name. Migrations are used as a folder.
fn unused(tree: &Tree) -> Vec<Finding> {
    let statements = tree.with_extension("sql").filter(|file| !file.path.starts_with(MIGRATIONS));
    let unused = statements.filter(|statement| {
        let mut sources = tree.rust().filter(|source| source.member() == statement.member());
        !sources.any(|source| {
            let mut strings = source.lines.iter().flat_map(|line| &line.strings);
            strings.any(|string| includes(string, &statement.path))
        })
    });
    let what = "no code includes this statement; use it or remove it";
    unused.map(|statement| Finding::new(&statement.path, 1, what)).collect()
}

/// Whether a string of the code is the end of a file's path: `sqlite/append.sql`, `../append.sql`.
fn includes(string: &str, path: &str) -> bool {
    let relative = string.trim_start_matches("../").trim_start_matches('/');
    relative.ends_with(".sql") && format!("/{path}").ends_with(&format!("/{relative}"))
}

/// How a statement begins that one dialect needs and the other does not; the reason follows.
const ONLY_HERE: &str = "-- Only here: ";

/// Wherever both dialects have a folder, the file names in them are the same, but for statements
/// that say at their head why the other dialect has none.
fn different_dialects(tree: &Tree) -> Vec<Finding> {
    let folders: BTreeSet<&str> =
        tree.with_extension("sql").filter_map(|f| parent(&f.path)).collect();
    let mut findings = Vec::new();
    for folder in folders {
        for (ours, theirs) in [(DIALECTS[0], DIALECTS[1]), (DIALECTS[1], DIALECTS[0])] {
            let Some(base) = folder.strip_suffix(ours) else { continue };
            let other = format!("{base}{theirs}");
            if !tree.has(&other) {
                continue;
            }
            let names = names_in(tree, folder);
            let explained = |name: &&String| {
                let path = format!("{folder}/{name}");
                let mut files = tree.with_extension("sql").filter(|file| file.path == path);
                files.any(|file| file.text.starts_with(ONLY_HERE))
            };
            let missing = names.iter().filter(|name| !tree.has(&format!("{other}/{name}")));
            let missing = missing.filter(|name| !explained(name));
            let what = |name: &str| {
                format!(
                    "{other} has no {name}; both dialects have the same files, or the first line says `{ONLY_HERE}` and why"
                )
            };
            findings.extend(
                missing.map(|name| Finding::new(&format!("{folder}/{name}"), 1, what(name))),
            );
        }
    }
    findings
}

/// Migrations of a dialect are called `0001_name.sql`, `0002_…` and so on, without gap or double.
fn badly_numbered(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for dialect in DIALECTS {
        let folder = format!("{MIGRATIONS}{dialect}");
        for (number, name) in (1..).zip(names_in(tree, &folder)) {
            let begin = format!("{number:04}_");
            if !name.starts_with(&begin) {
                let what = format!(
                    "this migration should be called {begin}*.sql: they are numbered without gaps"
                );
                findings.push(Finding::new(&format!("{folder}/{name}"), 1, what));
            }
        }
    }
    findings
}

/// The names of the statements in a folder, sorted.
fn names_in(tree: &Tree, folder: &str) -> BTreeSet<String> {
    let files = tree.with_extension("sql").filter(|file| parent(&file.path) == Some(folder));
    files.filter_map(|file| Some(file.path.rsplit_once('/')?.1.to_owned())).collect()
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(texts)).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_statement_that_nothing_includes_is_found() {
        let findings = found(&[
            ("saga-store/src/sqlite.rs", "const A: &str = include_str!(\"sqlite/append.sql\");"),
            ("saga-store/src/sqlite/append.sql", "SELECT 1"),
            ("saga-store/src/sqlite/claim.sql", "SELECT 1"),
        ]);
        assert!(
            matches!(&findings[..], [one] if one.starts_with("saga-store/src/sqlite/claim.sql:1"))
        );
    }

    #[test]
    fn a_statement_that_another_crate_includes_is_still_unused() {
        let findings =
            found(&[("a/src/lib.rs", "include_str!(\"x.sql\")"), ("b/src/x.sql", "SELECT 1")]);
        assert_eq!(findings.len(), 1);
    }

    #[test]
    fn a_statement_that_says_why_the_other_dialect_has_none_is_no_finding() {
        let findings = found(&[
            ("a/src/lib.rs", "(\"sqlite/one.sql\", \"sqlite/same.sql\", \"postgres/same.sql\")"),
            ("a/src/sqlite/one.sql", "-- Only here: PostgreSQL does it in same.sql.\nSELECT 1"),
            ("a/src/sqlite/same.sql", "SELECT 1"),
            ("a/src/postgres/same.sql", "SELECT 1"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn dialects_with_different_files_are_found_on_both_sides() {
        let findings = found(&[
            ("a/src/lib.rs", "(\"sqlite/one.sql\", \"postgres/two.sql\")"),
            ("a/src/sqlite/one.sql", ""),
            ("a/src/postgres/two.sql", ""),
        ]);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().any(|f| f.contains("a/src/postgres has no one.sql")));
        assert!(findings.iter().any(|f| f.contains("a/src/sqlite has no two.sql")));
    }

    #[test]
    fn a_single_dialect_has_nothing_to_be_equal_to() {
        let files =
            [("a/src/lib.rs", "(\"../sqlite/one.sql\")"), ("a/src/sqlite/one.sql", "SELECT 1")];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn a_gap_and_a_double_number_in_the_migrations_are_found() {
        let gap = [("migrations/sqlite/0001_log.sql", ""), ("migrations/sqlite/0003_x.sql", "")];
        assert!(found(&gap)[0].contains("should be called 0002_*.sql"));
        let double = [("migrations/sqlite/0001_a.sql", ""), ("migrations/sqlite/0001_b.sql", "")];
        assert_eq!(found(&double).len(), 1);
        let good = [("migrations/sqlite/0001_a.sql", ""), ("migrations/sqlite/0002_b.sql", "")];
        assert_eq!(found(&good), Vec::<String>::new());
    }
}
