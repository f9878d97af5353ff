//! The little that the rules need of a `Cargo.toml`.

/// A manifest as far as the rules read it.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// The members, in the manifest of a workspace.
    pub members: Vec<String>,
    /// What the package needs when it is built for use, not for its tests.
    pub dependencies: Vec<Dependency>,
    /// Whether the package has a `[features]` section.
    pub has_features: bool,
}

/// One dependency and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub name: String,
    pub line: usize,
    pub is_optional: bool,
}

impl Manifest {
    /// Reads a manifest; what it does not know, it skips.
    pub(super) fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut section = String::new();
        let mut in_members = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or("").trim();
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
                && !in_members
            {
                name.clone_into(&mut section);
                manifest.enter(&section, number);
            } else if section == "workspace" && (in_members || line.starts_with("members")) {
                manifest.members.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
                in_members = !line.contains(']');
            } else {
                manifest.entry(&section, number, line);
            }
        }
        manifest
    }

    /// A section begins: it may be a feature list or one dependency's own table.
    fn enter(&mut self, section: &str, line: usize) {
        self.has_features |= section == "features";
        if let Some((kind, name)) = section.rsplit_once('.')
            && is_dependencies(kind)
        {
            let name = name.trim_matches('"').to_owned();
            self.dependencies.push(Dependency { name, line, is_optional: false });
        }
    }

    fn entry(&mut self, section: &str, number: usize, line: &str) {
        let Some((key, value)) = line.split_once('=') else { return };
        let is_optional = value.replace(' ', "").contains("optional=true");
        if is_dependencies(section) {
            let name = key.trim().split('.').next().unwrap_or("").trim_matches('"').to_owned();
            self.dependencies.push(Dependency { name, line: number, is_optional });
        } else if section.rsplit_once('.').is_some_and(|(kind, _)| is_dependencies(kind))
            && key.trim() == "optional"
            && let Some(last) = self.dependencies.last_mut()
        {
            last.is_optional = value.trim() == "true";
        }
    }
}

/// Whether a section lists what is needed for use, for any target; not what tests need.
fn is_dependencies(section: &str) -> bool {
    let kind = section.rsplit('.').next().unwrap_or(section);
    ["dependencies", "build-dependencies"].contains(&kind) && !section.starts_with("workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_in_every_way_to_write_them() {
        let manifest = Manifest::parse(
            "[dependencies]\nserde.workspace = true\n\
             tokio = { version = \"1\", optional = true } # only for the suite\n\
             [dependencies.sha2]\nversion = \"0.11\"\noptional = true\n\
             [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n\
             [dev-dependencies]\nproptest = \"1\"\n",
        );
        let found: Vec<_> = manifest
            .dependencies
            .iter()
            .map(|dependency| (dependency.name.as_str(), dependency.line, dependency.is_optional))
            .collect();
        let expected =
            [("serde", 2, false), ("tokio", 3, true), ("sha2", 4, true), ("libc", 8, false)];
        assert_eq!(found, expected);
        assert!(!manifest.has_features);
    }

    #[test]
    fn members_may_stand_in_one_line_or_in_many() {
        for text in [
            "[workspace]\nmembers = [\"a\", \"b\"]\n[workspace.dependencies]\nserde = \"1\"",
            "[workspace]\nresolver = \"3\"\nmembers = [\n  \"a\",\n  # a comment\n  \"b\",\n]\n",
        ] {
            let manifest = Manifest::parse(text);
            assert_eq!(manifest.members, ["a", "b"], "{text}");
            assert_eq!(manifest.dependencies, []);
        }
    }
}
