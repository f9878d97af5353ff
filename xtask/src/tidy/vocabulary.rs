//! One word for one thing: names in code that the project's vocabulary replaces by another.

use super::rust::Line;
use super::{Finding, Tree};

/// A word that no name may contain, and what to say for it.
const BANNED: [(&str, &str); 16] = [
    ("workflow", "saga"),
    ("orderflow", "saga"),
    ("rollback", "compensation"),
    ("revert", "compensation"),
    ("undo", "compensation"),
    ("processor", "executor"),
    ("history", "log"),
    ("unwinding", "backward recovery"),
    ("aborting", "backward recovery"),
    ("retryable", "transient"),
    ("zombie", "stuck, or what the thing does"),
    ("resync", "catch_up"),
    ("manager", "what the thing does"),
    ("helper", "what the thing does"),
    ("util", "what the thing does"),
    ("utils", "what the thing does"),
];

/// Names of other people's code that contain such a word.
const FOREIGN: [&str; 7] = [
    "rollback",
    "tokio_util",
    "futures_util",
    "hyper_util",
    "http_body_util",
    "SpanProcessor",
    "with_span_processor",
];

/// Finds names in code, and names of files, that say it in another word.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        for line in &file.lines {
            for (name, say) in banned_names(line) {
                let what = format!("`{name}`: the vocabulary says {say}");
                findings.push(Finding::new(&file.path, line.number, what));
            }
        }
        let name = file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
        if let Some((name, say)) = name.and_then(|name| Some((name, replacement(name)?))) {
            findings.push(Finding::new(
                &file.path,
                1,
                format!("`{name}`: the vocabulary says {say}"),
            ));
        }
    }
    findings
}

/// The names of a line that contain a banned word; a test's name is a sentence and may.
fn banned_names(line: &Line) -> impl Iterator<Item = (&str, &'static str)> {
    let names = line.code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let names = names.filter(|name| !FOREIGN.contains(name) && !line.is_test);
    names.filter_map(|name| Some((name, replacement(name)?)))
}

/// What to say for a name that contains a banned word.
fn replacement(name: &str) -> Option<&'static str> {
    let words = words(name);
    let banned = BANNED.iter().find(|(word, _)| words.iter().any(|candidate| candidate == word));
    banned.map(|(_, say)| *say)
}

/// The words of a name in any case: `SagaManager`, `saga_manager` and `SAGA_MANAGER` have two each.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for next in name.chars() {
        if next == '_' || (next.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if next != '_' {
            words.last_mut().expect("it begins with one word").extend(next.to_lowercase());
        }
        after_lower = next.is_lowercase() || next.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, source: &str) -> Vec<String> {
        check(&Tree::of(&[(path, source)])).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn each_banned_word_is_found_in_every_case() {
        for (word, _) in BANNED {
            let capital = word[..1].to_uppercase() + &word[1..];
            for name in [format!("saga_{word}_x"), format!("Saga{capital}"), word.to_uppercase()] {
                assert_eq!(found("a/src/lib.rs", &format!("let {name} = 1;")).len(), 1, "{name}");
            }
        }
    }

    #[test]
    fn a_file_of_such_a_name_is_found() {
        assert_eq!(found("a/src/saga_manager.rs", "").len(), 1);
    }

    #[test]
    fn comments_strings_tests_foreign_names_and_other_words_are_fine() {
        let source = "// a zombie\nlet a = \"workflow\";\ntx.rollback();\nfn undone_by() {}\n\
                      #[cfg(test)]\nmod tests { fn a_zombie_is_fenced() {} }\n";
        assert_eq!(found("a/src/lib.rs", source), Vec::<String>::new());
    }
}
