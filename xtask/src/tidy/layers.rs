//! The direction of imports inside saga-worker: the executor knows no database, the worker no HTTP,
//! the HTTP side no SQL.

use super::tree::File;
use super::{Finding, Tree};

/// A layer and what it must not know.
struct Layer {
    /// Whether a module, by its path below `saga-worker/src/`, belongs to the layer.
    holds: fn(&str) -> bool,
    must_not_name: &'static [&'static str],
    because: &'static str,
}

const LAYERS: [Layer; 3] = [
    Layer {
        holds: |module| is_module(module, "executor"),
        must_not_name: &["sqlx", "saga_store"],
        because: "the executor knows no database; it speaks to the store port of saga-core",
    },
    Layer {
        holds: |module| !is_http(module),
        must_not_name: &["axum", "reqwest", "hyper"],
        because: "only the http modules know HTTP; hand the call over as a step",
    },
    Layer {
        holds: is_http,
        must_not_name: &["sqlx", "saga_store"],
        because: "the http modules know no database; they speak to the worker",
    },
];

/// Finds imports that go against the direction of the layers.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let Some(module) = file.path.strip_prefix("saga-worker/src/") else { return Vec::new() };
    let mut findings = Vec::new();
    for layer in LAYERS.iter().filter(|layer| (layer.holds)(module)) {
        for line in file.product_lines() {
            let named = layer.must_not_name.iter().filter(|name| has_word(&line.code, name));
            findings.extend(named.map(|name| {
                let what = format!("`{name}` must not be named here: {}", layer.because);
                Finding::new(&file.path, line.number, what)
            }));
        }
    }
    findings
}

fn is_http(module: &str) -> bool {
    is_module(module, "http")
        || module.rsplit('/').next().is_some_and(|name| name.starts_with("http"))
}

/// Whether a path is the module's file or below its folder.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|candidate| candidate == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, source: &str) -> Vec<Finding> {
        check(&Tree::of(&[(path, source)]))
    }

    #[test]
    fn an_executor_that_names_the_database_is_found() {
        for source in ["use sqlx::Row;", "fn f() {\n saga_store::connect();\n}"] {
            assert_eq!(found("saga-worker/src/executor.rs", source).len(), 1, "{source}");
            assert_eq!(found("saga-worker/src/executor/call.rs", source).len(), 1, "{source}");
        }
        assert_eq!(found("saga-worker/src/worker.rs", "use saga_store::connect;"), []);
    }

    #[test]
    fn a_worker_that_names_http_is_found_outside_the_http_modules() {
        let source = "use reqwest::Client;";
        assert_eq!(found("saga-worker/src/worker.rs", source).len(), 1);
        assert_eq!(found("saga-worker/src/http.rs", source), []);
        assert_eq!(found("saga-worker/src/http/answer.rs", source), []);
        assert_eq!(found("saga-worker/src/steps/http_step.rs", source), []);
    }

    #[test]
    fn http_that_names_sql_is_found() {
        assert_eq!(found("saga-worker/src/http/sagas.rs", "use sqlx::Row;").len(), 1);
    }

    #[test]
    fn words_that_merely_contain_a_name_and_tests_are_fine() {
        assert_eq!(found("saga-worker/src/executor.rs", "let sqlx_like = 1;"), []);
        let test = "#[cfg(test)]\nmod tests { use sqlx::Row; }";
        assert_eq!(found("saga-worker/src/executor.rs", test), []);
    }
}
