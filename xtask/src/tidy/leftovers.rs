//! Nothing half-done and nothing of one person's machine stays in the tree.

use super::tree::File;
use super::{Finding, Tree};

/// Macros that stand for missing or probing code.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Words that promise work without saying whose.
const PROMISES: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// The first folders of paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 4] = ["home", "root", "work", "Users"];

/// Finds unfinished code, promises without a number, and paths of one machine.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.rust().flat_map(unfinished).collect();
    findings.extend(tree.files().iter().flat_map(machine_paths));
    findings
}

fn unfinished(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in &file.lines {
        for found in UNFINISHED.iter().filter(|name| line.code.contains(**name)) {
            findings.push(Finding::new(&file.path, line.number, format!("`{found}`: finish it")));
        }
        for promise in PROMISES.iter().filter(|promise| is_bare(&line.comment, promise)) {
            let what = format!("a bare {promise}: do it, or name its issue as in `TODO(#123)`");
            findings.push(Finding::new(&file.path, line.number, what));
        }
    }
    findings
}

/// Whether a comment holds the promise without the number of an issue behind it.
fn is_bare(comment: &str, promise: &str) -> bool {
    comment.match_indices(promise).any(|(at, _)| {
        let before = comment[..at].chars().next_back();
        let after = &comment[at + promise.len()..];
        let number = after.strip_prefix("(#").and_then(|rest| rest.split(')').next());
        let has_number =
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let is_word = !before.is_some_and(char::is_alphanumeric)
            && !after.starts_with(|c: char| c.is_alphanumeric());
        is_word && !has_number
    })
}

fn machine_paths(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for folder in MACHINE_FOLDERS.iter().filter(|folder| has_absolute(line, folder)) {
            let what =
                format!("a path of one machine (/{folder}/): use one relative to the project");
            findings.push(Finding::new(&file.path, number, what));
        }
    }
    findings
}

/// Whether a line holds an absolute path below a folder: one that does not continue a longer path.
fn has_absolute(line: &str, folder: &str) -> bool {
    line.match_indices(&format!("/{folder}/")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-})>*~$".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, source: &str) -> Vec<Finding> {
        check(&Tree::of(&[(path, source)]))
    }

    #[test]
    fn unfinished_code_is_found_even_in_tests() {
        for call in UNFINISHED {
            let source = format!("#[cfg(test)]\nmod tests {{\n    fn f() {{ {call}() }}\n}}");
            assert_eq!(found("a/src/lib.rs", &source).len(), 1, "{call}");
        }
    }

    #[test]
    fn a_promise_needs_the_number_of_an_issue() {
        for promise in PROMISES {
            let source = format!("fn f() {{}} // {promise}: later");
            assert_eq!(found("a/src/lib.rs", &source).len(), 1, "{promise}");
        }
        let named = format!("// {}(#123): later\nconst A: &str = \"todo!\";", PROMISES[0]);
        assert_eq!(found("a/src/lib.rs", &named), []);
        let inside = format!("// A{}S is a word", PROMISES[0]);
        assert_eq!(found("a/src/lib.rs", &inside), []);
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_every_kind_of_file() {
        for folder in MACHINE_FOLDERS {
            let line = format!("see `/{folder}/me/saga`");
            for path in ["README.md", "a/src/lib.rs", ".ci/run", "deny.toml"] {
                let findings = found(path, &format!("one\n{line}\n"));
                assert!(matches!(&findings[..], [one] if one.line == 2), "{path} {folder}");
            }
        }
    }

    #[test]
    fn a_longer_path_is_not_one_of_a_machine() {
        let folder = MACHINE_FOLDERS[2];
        let text = format!("https://example.org/{folder}/x and a/{folder}/b and $HOME/{folder}/");
        assert_eq!(found("README.md", &text), []);
    }
}
