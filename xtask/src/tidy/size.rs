//! No file swells: code lines are counted, comments and blank lines are free.

use super::{Finding, Tree};

/// The most lines of code that a file may have.
const LINES_MAX: usize = 500;

/// Finds Rust files with too much code in them.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let counted = tree.rust().map(|file| {
        let code = file.lines.iter().filter(|line| line.is_code()).count();
        (file, code)
    });
    let too_long = counted.filter(|(_, code)| *code > LINES_MAX);
    let finding = too_long.map(|(file, code)| {
        let what = format!("{code} lines of code, {LINES_MAX} are allowed; split it by concern");
        Finding::new(&file.path, 1, what)
    });
    finding.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_501_lines_of_code_is_found() {
        let source = "fn f() {}\n".repeat(501);
        let findings = check(&Tree::of(&[("a/src/long.rs", &source)]));
        assert!(matches!(&findings[..], [one] if one.what.starts_with("501 lines")));
    }

    #[test]
    fn comments_and_blank_lines_do_not_count() {
        let source =
            format!("{}{}", "fn f() {}\n".repeat(500), "// why\n\n/* and\nhow */\n".repeat(99));
        assert_eq!(check(&Tree::of(&[("a/src/long.rs", &source)])), []);
    }
}
