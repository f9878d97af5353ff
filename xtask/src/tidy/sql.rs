//! SQL stands in `.sql` files, where it can be read, compared and run by hand.

use super::{Finding, Tree};

const CRATES: [&str; 2] = ["saga-store/src/", "saga-participant/src/"];

/// How statements begin: more than one word, so that a sentence is not taken for a statement.
const BEGINNINGS: [&str; 9] = [
    "insert into ",
    "insert or ",
    "delete from ",
    "create table ",
    "create index ",
    "create unique ",
    "alter table ",
    "drop table ",
    "drop index ",
];

/// Finds SQL statements in the strings of the crates that speak to databases. Transaction control and
/// what asks SQLite about itself are no statements in this sense: they belong to the code around them.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources =
        tree.rust().filter(|file| CRATES.iter().any(|start| file.path.starts_with(start)));
    let mut findings = Vec::new();
    for file in sources {
        for line in file.product_lines() {
            for statement in line.strings.iter().filter(|text| is_statement(text)) {
                let begin: String = statement.trim().chars().take(30).collect();
                let what =
                    format!("SQL in code (`{begin}`): put it into a .sql file and include_str! it");
                findings.push(Finding::new(&file.path, line.number, what));
            }
        }
    }
    findings
}

fn is_statement(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let plain = words.join(" ").to_lowercase() + " ";
    let third_is = |word: &str| words.get(2).is_some_and(|third| third.eq_ignore_ascii_case(word));
    let is_select = plain.starts_with("select ") && plain.contains(" from ");
    let is_update = plain.starts_with("update ") && third_is("set");
    let is_with = plain.starts_with("with ") && third_is("as");
    let begins = BEGINNINGS.iter().any(|beginning| plain.starts_with(beginning));
    begins || is_select || is_update || is_with
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, source: &str) -> usize {
        check(&Tree::of(&[(path, source)])).len()
    }

    #[test]
    fn statements_in_strings_are_found() {
        for statement in [
            "select id from saga",
            "INSERT INTO saga VALUES (?)",
            "insert or ignore into saga values (?)",
            "UPDATE saga SET status = ?",
            "DELETE FROM saga",
            "CREATE TABLE IF NOT EXISTS saga (id)",
            "WITH due AS (SELECT 1) SELECT * FROM due",
        ] {
            let source = format!("fn f() {{\n    query(\"{statement}\");\n}}");
            assert_eq!(found("saga-store/src/sqlite.rs", &source), 1, "{statement}");
            assert_eq!(found("saga-participant/src/barrier.rs", &source), 1, "{statement}");
        }
    }

    #[test]
    fn transaction_control_sentences_tests_and_other_crates_are_fine() {
        for text in [
            "BEGIN IMMEDIATE",
            "PRAGMA journal_mode = WAL",
            "SAVEPOINT business",
            "SELECT sqlite_version()",
            "select a definition first",
            "update the row before the caller may set a new one",
            "with the key as it was",
        ] {
            let source = format!("fn f() {{ g(\"{text}\"); }}");
            assert_eq!(found("saga-store/src/sqlite.rs", &source), 0, "{text}");
        }
        let source = "fn f() { g(\"SELECT 1 FROM saga\"); }";
        assert_eq!(found("saga-examples/src/inventory.rs", source), 0);
        assert_eq!(found("saga-store/tests/it.rs", source), 0);
        assert_eq!(found("saga-store/src/lib.rs", "// SELECT 1 FROM saga"), 0);
    }
}
