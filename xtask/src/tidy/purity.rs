//! saga-core is pure, and participants stay light: told by their dependencies and by what the core's
//! source calls.

use super::{Finding, Tree};

const CORE: &str = "saga-core";
const CORE_MAY_NEED: [&str; 5] = ["async-trait", "serde", "serde_json", "sha2", "thiserror"];
/// What the core's conformance suite needs, and nothing else of the core.
const CORE_MAY_NEED_OPTIONALLY: &str = "tokio";

const PARTICIPANT: &str = "saga-participant";
const ORCHESTRATOR: [&str; 3] = ["saga-core", "saga-store", "saga-worker"];

/// What reads a clock, chance or the world, or begins something on the side.
const IMPURE: [&str; 12] = [
    "SystemTime::now",
    "Instant::now",
    "rand::",
    "getrandom",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "tokio::spawn",
    "task::spawn",
    "thread::spawn",
    "thread::sleep",
];

/// Finds dependencies and calls that the core, or a participant, must not have.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = core_dependencies(tree);
    findings.extend(participant_dependencies(tree));
    findings.extend(core_calls(tree));
    findings
}

fn core_dependencies(tree: &Tree) -> Vec<Finding> {
    let Some((file, manifest)) = tree.manifest(CORE) else { return Vec::new() };
    let is_allowed = |name: &str, is_optional| {
        CORE_MAY_NEED.contains(&name) || (name == CORE_MAY_NEED_OPTIONALLY && is_optional)
    };
    let forbidden = manifest.dependencies.iter().filter(|d| !is_allowed(&d.name, d.is_optional));
    let what = |name: &str| {
        format!(
            "saga-core must not need `{name}`: it stays pure with {} (and {} behind \
             `conformance`); move what needs it to saga-store or saga-worker",
            CORE_MAY_NEED.join(", "),
            CORE_MAY_NEED_OPTIONALLY
        )
    };
    forbidden.map(|d| Finding::new(&file.path, d.line, what(&d.name))).collect()
}

fn participant_dependencies(tree: &Tree) -> Vec<Finding> {
    let Some((file, manifest)) = tree.manifest(PARTICIPANT) else { return Vec::new() };
    let forbidden = manifest.dependencies.iter().filter(|d| ORCHESTRATOR.contains(&&*d.name));
    let what = |name: &str| {
        format!("saga-participant must not need `{name}`: participants do not pull in the engine")
    };
    forbidden.map(|d| Finding::new(&file.path, d.line, what(&d.name))).collect()
}

fn core_calls(tree: &Tree) -> Vec<Finding> {
    let sources = tree.rust().filter(|file| file.path.starts_with("saga-core/src/"));
    let mut findings = Vec::new();
    for file in sources {
        for line in file.product_lines() {
            for call in IMPURE.iter().filter(|call| names(&line.code, call)) {
                let what = format!(
                    "saga-core must not use `{call}`: take it as an argument and let the worker do it"
                );
                findings.push(Finding::new(&file.path, line.number, what));
            }
        }
    }
    findings
}

/// Whether code names a path, and not merely a longer word that ends like it.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(texts: &[(&str, &str)]) -> Vec<Finding> {
        check(&Tree::of(texts))
    }

    #[test]
    fn a_driver_among_the_cores_dependencies_is_found() {
        let manifest = "[dependencies]\nserde.workspace = true\nsqlx.workspace = true\n";
        let findings = found(&[("saga-core/Cargo.toml", manifest)]);
        assert!(matches!(&findings[..], [one] if one.line == 3 && one.what.contains("`sqlx`")));
    }

    #[test]
    fn tokio_is_allowed_only_when_it_is_optional() {
        let optional = "[dependencies]\ntokio = { workspace = true, optional = true }\n";
        assert_eq!(found(&[("saga-core/Cargo.toml", optional)]), []);
        let always = "[dependencies]\ntokio.workspace = true\n";
        assert_eq!(found(&[("saga-core/Cargo.toml", always)]).len(), 1);
    }

    #[test]
    fn a_participant_that_pulls_in_the_engine_is_found() {
        let manifest = "[dependencies]\nsaga-core.workspace = true\n";
        assert_eq!(found(&[("saga-participant/Cargo.toml", manifest)]).len(), 1);
    }

    #[test]
    fn a_clock_in_the_core_is_found() {
        let source = "fn now() -> Instant {\n    std::time::Instant::now()\n}\n";
        let findings = found(&[("saga-core/src/time.rs", source)]);
        assert!(
            matches!(&findings[..], [one] if one.line == 2 && one.what.contains("Instant::now"))
        );
        let source = "use rand::Rng;\nfn f() { tokio::spawn(g()); std::env::var(\"A\"); }";
        assert_eq!(found(&[("saga-core/src/time.rs", source)]).len(), 3);
    }

    #[test]
    fn clocks_in_tests_in_the_suite_in_comments_and_elsewhere_are_fine() {
        let call = "fn f() { Instant::now(); }";
        let test = format!("#[cfg(test)]\nmod tests {{\n{call}\n}}");
        assert_eq!(
            found(&[
                ("saga-core/src/time.rs", &test),
                ("saga-core/src/time/tests.rs", call),
                ("saga-core/src/store/conformance/lease.rs", call),
                ("saga-core/src/id.rs", "// never Instant::now()\nfn operand::new() {}"),
                ("saga-worker/src/clock.rs", call),
            ]),
            []
        );
    }
}
