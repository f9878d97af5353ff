//! ARCHITECTURE.md's code map and the links of all documents: what they name exists.

use super::tree::{File, extension_of};
use super::{Finding, Tree};

const MAP: &str = "ARCHITECTURE.md";
const HEADING: &str = "code map";
/// How names of files end, where a map names one without its folder.
const FILE_KINDS: [&str; 5] = ["rs", "sql", "toml", "md", "yaml"];

/// Finds members that the code map leaves out, paths in it that do not exist, and dead links.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = code_map(tree);
    findings.extend(tree.with_extension("md").flat_map(|file| dead_links(tree, file)));
    findings
}

fn code_map(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(MAP) else {
        return vec![Finding::new(MAP, 1, "is missing; it holds the code map and the invariants")];
    };
    let section = section(&file.text);
    let Some((heading, _)) = section.first() else {
        return vec![Finding::new(MAP, 1, "has no section `Code map`")];
    };
    let members = tree.members();
    let is_named = |member: &String| section.iter().any(|(_, line)| names_folder(line, member));
    let what = |member: &str| format!("the code map does not name the member `{member}`");
    let left_out = members.iter().filter(|member| !is_named(member));
    let mut findings: Vec<_> =
        left_out.map(|member| Finding::new(MAP, *heading, what(member))).collect();
    findings.extend(missing_paths(tree, &section));
    findings
}

/// The lines of the code map with their numbers, from its heading to the next of the same rank.
fn section(text: &str) -> Vec<(usize, &str)> {
    let rank = |line: &str| line.len() - line.trim_start_matches('#').len();
    let is_heading = |line: &str| rank(line) > 0 && line.to_lowercase().contains(HEADING);
    let mut lines = (1..).zip(text.lines()).skip_while(|(_, line)| !is_heading(line));
    let Some(first) = lines.next() else { return Vec::new() };
    let rest = lines.take_while(|(_, line)| !(1..=rank(first.1)).contains(&rank(line)));
    std::iter::once(first).chain(rest).collect()
}

fn names_folder(line: &str, member: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    line.match_indices(member).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + member.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Paths in backticks that exist nowhere. A map may leave out the folder it speaks of, so the end of
/// a path is enough.
fn missing_paths(tree: &Tree, section: &[(usize, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in section {
        let spans = line.split('`').skip(1).step_by(2);
        let paths = spans.flat_map(alternatives).filter(|span| looks_like_path(span));
        for path in paths.filter(|path| !tree.has_ending(place(path))) {
            let what = format!("the code map names `{path}`, which does not exist");
            findings.push(Finding::new(MAP, *number, what));
        }
    }
    findings
}

/// The path itself, or for one with a star the folder in which the star stands.
fn place(path: &str) -> &str {
    match path.split_once('*') {
        None => path,
        Some((before, _)) => before.rsplit_once('/').map_or("", |(folder, _)| folder),
    }
}

/// The paths that one with braces stands for: `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn alternatives(span: &str) -> Vec<String> {
    let braces = span.split_once('{').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('}')?;
        Some((before, inside, after))
    });
    match braces {
        None => vec![span.to_owned()],
        Some((before, inside, after)) => {
            inside.split(',').map(|one| format!("{before}{}{after}", one.trim())).collect()
        }
    }
}

fn looks_like_path(span: &str) -> bool {
    let is_clean = span.chars().all(|c| c.is_alphanumeric() || "/._-*".contains(c));
    let has_folder = span.contains('/') && !span.starts_with('/');
    is_clean && (has_folder || FILE_KINDS.contains(&extension_of(span)))
}

/// Links of a document to files that do not exist.
fn dead_links(tree: &Tree, file: &File) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        in_code ^= line.trim_start().starts_with("```");
        for target in links(line).filter(|_| !in_code) {
            if !resolve(folder, target).is_some_and(|path| tree.has(&path)) {
                let what = format!("the link to `{target}` leads nowhere");
                findings.push(Finding::new(&file.path, number, what));
            }
        }
    }
    findings
}

/// The targets of a line's links that lead into the tree.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains(':'))
}

/// A path from the root for one from a folder; nothing for one that leads out of the tree.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[workspace]\nmembers = [\"saga-core\", \"xtask\"]\n";

    fn found(map: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("Cargo.toml", WORKSPACE),
            ("saga-core/src/saga.rs", ""),
            ("saga-core/src/id.rs", ""),
            ("saga-core/src/sqlite/a.sql", ""),
            ("xtask/src/main.rs", ""),
            (MAP, map),
        ]);
        code_map(&tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_map_that_names_every_member_and_only_what_exists_is_fine() {
        let map = "# A\n## Code map\n`saga-core/` holds `saga.rs`, `src/{saga,id}.rs`, \
                   `src/sqlite/*.sql` and `Saga::apply`, asked by `GET /orders`.\n\
                   `xtask`: `xtask/src/main.rs`\n## Invariants\n`not/in/the/map.rs`\n";
        assert_eq!(found(map), Vec::<String>::new());
    }

    #[test]
    fn a_member_that_is_left_out_is_found() {
        let findings = found("## Code map\n`saga-core` and `xtask-more`\n");
        assert!(matches!(&findings[..], [one] if one.contains("does not name the member `xtask`")));
    }

    #[test]
    fn a_path_that_does_not_exist_is_found() {
        for path in ["saga-core/src/gone.rs", "gone.rs", "src/{saga,gone}.rs", "gone/*.sql"] {
            let findings = found(&format!("## Code map\n`xtask` `saga-core` `{path}`\n"));
            assert!(matches!(&findings[..], [one] if one.contains("gone")), "{path}: {findings:?}");
        }
    }

    #[test]
    fn a_missing_map_is_found() {
        assert_eq!(code_map(&Tree::of(&[("Cargo.toml", WORKSPACE)])).len(), 1);
        assert_eq!(found("# Architecture\n").len(), 1);
    }

    #[test]
    fn a_dead_link_is_found_and_a_living_one_is_not() {
        let text = "[a](b.md) [c](docs/d.md#part) [e](https://example.org) [f](#here)\n\
                    ```\n[g](gone.md)\n```\n[h](../out.md)\n";
        let tree = Tree::of(&[("README.md", text), ("docs/d.md", "[r](../README.md)")]);
        let found: Vec<_> = tree
            .with_extension("md")
            .flat_map(|file| dead_links(&tree, file))
            .map(|finding| (finding.file, finding.line))
            .collect();
        assert_eq!(found, [("README.md".to_owned(), 1), ("README.md".to_owned(), 5)]);
    }
}
