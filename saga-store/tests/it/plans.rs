//! How SQLite goes about our statements: through an index, never through a table.

use std::path::Path;

use saga_store::SqliteStore;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

#[tokio::test]
async fn no_statement_walks_through_a_table_or_sorts_what_it_finds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    drop(SqliteStore::open(&path).await.expect("a database"));
    let mut db = SqliteConnectOptions::new().filename(&path).connect().await.expect("opens");
    let (mut statements, mut slow) = (0, Vec::new());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite");
    for entry in std::fs::read_dir(sources).expect("the statements") {
        let file = entry.expect("a file").path();
        if file.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let sql = std::fs::read_to_string(&file).expect("a statement");
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        for row in sqlx::query(explain).fetch_all(&mut db).await.expect(&name) {
            let detail: String = row.get("detail");
            if !is_swift(&name, &detail) {
                slow.push(format!("{name}: {detail}"));
            }
        }
        statements += 1;
    }
    assert!(slow.is_empty(), "{slow:#?}");
    assert!(statements > 30, "only {statements} statements were looked at");
}

fn is_swift(name: &str, detail: &str) -> bool {
    let walks =
        ["saga", "saga_log", "saga_command", "saga_audit"].map(|table| format!("SCAN {table}"));
    let walks = walks.iter().any(|walk| detail == walk || detail.starts_with(&format!("{walk} ")));
    // All of one bucket are all there are, and all with smaller ids may be as many.
    let whole_bucket =
        detail.ends_with("(bucket=?)") && !["backlog", "counts", "pending"].contains(&name);
    let by_id = detail.ends_with("(bucket=? AND id<?)") && name != "find_all";
    // Two rows at most, what workers own at the moment, and what waits for a person.
    let few = ["start_existing", "counts", "backlog"].contains(&name);
    let sorts = detail.contains("TEMP B-TREE") && !few;
    !walks && !whole_bucket && !by_id && !sorts
}
