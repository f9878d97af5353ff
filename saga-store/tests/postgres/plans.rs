//! How PostgreSQL goes about the statements of the hot path, whatever it believes of its tables.
//!
//! On a young or badly estimated table the planner would rather walk through a table, or through
//! all that one worker owns, which makes a batch cost as much as the square of its length.

use std::collections::BTreeSet;

use saga_store::PostgresOptions;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::super::{Fresh, fresh};
use saga_core::store::conformance::Harness as _;

/// So many sagas of one worker, each with a row in its log.
async fn fill(db: &mut PgConnection, sagas: u32) {
    let state = format!(
        "INSERT INTO saga (bucket, id, name, version, digest, input_digest, status, seq, epoch, owner, claims, unanswered, started_at)
         SELECT n % 256, decode(md5(n::text), 'hex'), 'order', 1, '\\x00', '\\x00', 'running', 1, 1, '\\x07', 0, 0, n
         FROM generate_series(1, {sagas}) AS n ON CONFLICT DO NOTHING"
    );
    let log = "INSERT INTO saga_log (bucket, saga_id, seq, epoch, at, body, digest)
         SELECT bucket, id, 1, 1, 1, '[]', '\\x00' FROM saga ON CONFLICT DO NOTHING";
    for sql in [state.as_str(), log] {
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut *db).await.expect("rows");
    }
}

/// The plan of a statement for any parameters, a line each.
async fn plan(db: &mut PgConnection, sql: &str) -> String {
    let parameters: BTreeSet<&str> = sql
        .split('$')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default())
        .collect();
    let nulls = vec!["NULL"; parameters.len()].join(", ");
    let prepare = AssertSqlSafe(format!("PREPARE explained AS {sql}"));
    sqlx::raw_sql(prepare).execute(&mut *db).await.expect("a statement");
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE explained({nulls})");
    let lines = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *db).await.expect("a plan");
    sqlx::raw_sql("DEALLOCATE explained").execute(db).await.expect("forgotten");
    lines.iter().map(|line| sqlx::Row::get::<String, _>(line, 0) + "\n").collect()
}

#[tokio::test]
async fn appends_are_found_by_their_primary_key_in_empty_small_and_large_tables() {
    let database @ Fresh(url) = &fresh();
    drop(database.open().await);
    let [_, appending] = PostgresOptions::from_url(url).expect("the fixture's URL").for_batches();
    let mut db = appending.connect().await.expect("a connection");
    let together = include_str!("../../src/postgres/append.sql");
    let of_one_bucket = include_str!("../../src/postgres/distributed/append.sql");
    for (sagas, analyse) in [(0, false), (0, true), (300, false), (50_000, false), (50_000, true)] {
        fill(&mut db, sagas).await;
        if analyse {
            sqlx::query("ANALYZE saga, saga_log").execute(&mut db).await.expect("statistics");
        }
        for sql in [together, of_one_bucket] {
            let plan = plan(&mut db, sql).await;
            let scans: Vec<_> = plan
                .lines()
                .filter(|line| line.contains(" on saga") && line.contains("Scan"))
                .collect();
            assert!(
                !scans.is_empty() && scans.iter().all(|scan| scan.contains("using saga_pkey")),
                "{sagas} sagas, analysed: {analyse}\n{plan}"
            );
            assert!(plan.contains("Nested Loop"), "{plan}");
        }
    }
}

#[tokio::test]
async fn the_feed_is_read_from_its_index_on_in_small_and_large_tables() {
    let database @ Fresh(url) = &fresh();
    drop(database.open().await);
    let reading = PostgresOptions::from_url(url).expect("the fixture's URL").for_feed();
    let mut db = reading.connect().await.expect("a connection");
    let sql = include_str!("../../src/postgres/feed.sql");
    for (sagas, analyse) in [(0, false), (300, false), (50_000, false), (50_000, true)] {
        fill(&mut db, sagas).await;
        if analyse {
            sqlx::query("ANALYZE saga, saga_log").execute(&mut db).await.expect("statistics");
        }
        let plan = plan(&mut db, sql).await;
        let read = plan.lines().filter(|line| line.contains("using saga_log_feed"));
        assert_eq!(read.count(), 2, "{sagas} sagas, analysed: {analyse}\n{plan}");
        assert!(plan.contains("using saga_pkey") && plan.contains("Incremental Sort"), "{plan}");
        let of_all = |line: &str| line.contains("Seq Scan on saga") && !line.contains("saga_meta");
        assert!(!plan.lines().any(of_all), "{plan}");
    }
}
