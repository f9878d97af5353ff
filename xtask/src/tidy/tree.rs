//! The files of the workspace, read once.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;

use super::manifest::Manifest;
use super::rust::{self, Line};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 3] = ["target", "node_modules", ".git"];
/// The kinds of files that the rules read.
const READ: [&str; 9] = ["rs", "toml", "md", "sql", "yml", "yaml", "json", "sh", ""];

/// Every file that a rule may want to read, by its path from the root, with `/` between folders.
#[derive(Debug)]
pub(crate) struct Tree {
    files: Vec<File>,
    /// Every path of the workspace, folders included.
    paths: BTreeSet<String>,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub path: String,
    pub text: String,
    /// The lines of a Rust file; empty for others.
    pub lines: Vec<Line>,
}

impl Tree {
    /// Reads the workspace at `root`.
    ///
    /// # Errors
    /// When a folder or file cannot be read.
    pub(crate) fn load(root: &Path) -> anyhow::Result<Self> {
        let mut paths = BTreeSet::new();
        walk(root, "", &mut paths)?;
        let readable = paths.iter().filter(|path| is_read(path) && root.join(path).is_file());
        let mut texts = Vec::new();
        for path in readable {
            let bytes = std::fs::read(root.join(path)).with_context(|| format!("read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                texts.push((path.clone(), text));
            }
        }
        Ok(Self { files: files(texts), paths })
    }

    /// A tree of the given paths and texts, for tests.
    #[cfg(test)]
    pub(super) fn of(texts: &[(&str, &str)]) -> Self {
        let mut paths = BTreeSet::new();
        for (path, _) in texts {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            paths.extend(ends.map(|end| path[..end].to_owned()));
        }
        let texts = texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: files(texts.collect()), paths }
    }

    /// Every file that was read.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// Whether there is a file or folder at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        path.is_empty() || self.paths.contains(path)
    }

    /// Whether the path of a file or folder ends in `path`, from a whole folder name on.
    pub(super) fn has_ending(&self, path: &str) -> bool {
        let ending = format!("/{}", path.trim_end_matches('/'));
        self.has(path) || self.paths.iter().any(|path| path.ends_with(&ending))
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files.
    pub(super) fn rust(&self) -> impl Iterator<Item = &File> {
        self.with_extension("rs")
    }

    /// The files whose names end in `.extension`.
    pub(super) fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| extension_of(&file.path) == extension)
    }

    /// The manifest of a member, or of the workspace for an empty name.
    pub(super) fn manifest(&self, member: &str) -> Option<(&File, Manifest)> {
        let path =
            if member.is_empty() { "Cargo.toml".into() } else { format!("{member}/Cargo.toml") };
        self.file(&path).map(|file| (file, Manifest::parse(&file.text)))
    }

    /// The members of the workspace, as its manifest lists them.
    pub(super) fn members(&self) -> Vec<String> {
        self.manifest("").map(|(_, manifest)| manifest.members).unwrap_or_default()
    }

    /// The members that are libraries with features of their own.
    pub(crate) fn libraries_with_features(&self) -> Vec<String> {
        let mut members = self.members();
        members.retain(|member| {
            let has_features = self.manifest(member).is_some_and(|(_, m)| m.has_features);
            has_features && self.has(&format!("{member}/src/lib.rs"))
        });
        members
    }
}

impl File {
    /// The member of the workspace that the file belongs to: its first folder.
    pub(super) fn member(&self) -> &str {
        self.path.split_once('/').map_or("", |(member, _)| member)
    }

    /// The lines that are part of the product, not of its tests.
    pub(super) fn product_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !line.is_test)
    }
}

/// The part of a file name after its last dot; empty without one.
pub(super) fn extension_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.')
        .filter(|(stem, _)| !stem.is_empty())
        .map_or("", |(_, extension)| extension)
}

fn walk(root: &Path, folder: &str, paths: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let place = root.join(folder);
    let entries = std::fs::read_dir(&place).with_context(|| format!("read {}", place.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", place.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if FOREIGN.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        // A link to a folder is listed but not followed: its files are listed where they are.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &path, paths)?;
        }
        paths.insert(path);
    }
    Ok(())
}

fn is_read(path: &str) -> bool {
    READ.contains(&extension_of(path))
}

fn files(texts: Vec<(String, String)>) -> Vec<File> {
    let scan = |(path, text): (String, String)| {
        let lines = if extension_of(&path) == "rs" { rust::scan(&text) } else { Vec::new() };
        File { path, text, lines }
    };
    let mut files: Vec<File> = texts.into_iter().map(scan).collect();
    let test_modules: Vec<String> = files.iter().flat_map(test_modules).collect();
    for file in &mut files {
        if is_test_path(&file.path) || test_modules.iter().any(|module| is_in(&file.path, module)) {
            file.lines.iter_mut().for_each(|line| line.is_test = true);
        }
    }
    files
}

/// Whether `path` is the file of a module or below its folder.
fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether all of a file is there to test: tests, benchmarks, and the suite that every store passes.
fn is_test_path(path: &str) -> bool {
    let test = ["tests", "tests.rs", "benches", "conformance", "conformance.rs"];
    path.split('/').any(|part| test.contains(&part))
}

/// The modules of a file that are declared for tests alone, as paths without `.rs`.
fn test_modules(file: &File) -> Vec<String> {
    let folder = match file.path.strip_suffix(".rs") {
        Some(stem)
            if ["lib", "main", "mod"].iter().any(|root| stem.ends_with(&format!("/{root}"))) =>
        {
            stem.rsplit_once('/').map_or("", |(folder, _)| folder)
        }
        Some(stem) => stem,
        None => return Vec::new(),
    };
    let declared = file.lines.iter().filter(|line| line.is_test).filter_map(|line| {
        let module = line.code.trim().trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
        module.strip_suffix(';')
    });
    declared.map(|module| format!("{folder}/{module}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_libraries_are_read_from_the_manifests() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\n    \"a\",\n    \"b\",\n]"),
            ("a/Cargo.toml", "[package]\n[features]\nx = []"),
            ("a/src/lib.rs", ""),
            ("b/Cargo.toml", "[package]"),
        ]);
        assert_eq!(tree.members(), ["a", "b"]);
        assert_eq!(tree.libraries_with_features(), ["a"]);
        assert!(tree.has("a/src/") && !tree.has("a/source"));
    }

    #[test]
    fn a_module_declared_for_tests_is_a_test() {
        let tree = Tree::of(&[
            ("a/src/saga.rs", "mod live;\n#[cfg(test)]\nmod walk;\n"),
            ("a/src/saga/live.rs", "fn f() {}"),
            ("a/src/saga/walk.rs", "fn f() {}"),
            ("a/src/saga/walk/deep.rs", "fn f() {}"),
            ("a/tests/it.rs", "fn f() {}"),
        ]);
        let is_test = |path: &str| tree.file(path).unwrap().lines[0].is_test;
        assert!(!is_test("a/src/saga/live.rs"));
        assert!(is_test("a/src/saga/walk.rs") && is_test("a/src/saga/walk/deep.rs"));
        assert!(is_test("a/tests/it.rs"));
    }

    #[test]
    fn an_extension_is_what_follows_the_last_dot() {
        assert_eq!(extension_of("a/b.tar.gz"), "gz");
        assert_eq!(extension_of(".gitignore"), "");
        assert_eq!(extension_of("a.b/LICENSE"), "");
    }
}
