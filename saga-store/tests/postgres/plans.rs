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

/// So many audit entries, by a few actors, of a few actions, to many targets.
async fn fill_trail(db: &mut PgConnection, entries: u32) {
    let sql = format!(
        "INSERT INTO saga_audit (bucket, at, id, actor, role, action, target)
         SELECT 7, n, decode(md5(n::text), 'hex'), 'actor-' || n % 5, 'operator', 'action-' || n % 9, 'target-' || n % 999
         FROM generate_series(1, {entries}) AS n ON CONFLICT DO NOTHING"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(db).await.expect("rows");
}

#[tokio::test]
async fn the_audit_trail_is_read_and_shortened_through_its_indexes_and_never_sorted() {
    let database @ Fresh(url) = &fresh();
    drop(database.open().await);
    let options = || PostgresOptions::from_url(url).expect("the fixture's URL");
    let [any, retention] = options().for_batches();
    let any = any.options([("plan_cache_mode", "force_generic_plan")]);
    let mut any = any.connect().await.expect("a connection");
    let mut retention = retention.connect().await.expect("a connection");
    let reads = [
        ("saga_audit_pkey", include_str!("../../src/postgres/audit.sql")),
        ("saga_audit_actor", include_str!("../../src/postgres/audit_of_actor.sql")),
        ("saga_audit_action", include_str!("../../src/postgres/audit_of_action.sql")),
        ("saga_audit_target", include_str!("../../src/postgres/audit_of_target.sql")),
    ];
    let forget = ("saga_audit_pkey", include_str!("../../src/postgres/forget_audit.sql"));
    for (entries, analyse) in [(50_000, false), (50_000, true)] {
        fill_trail(&mut any, entries).await;
        if analyse {
            sqlx::query("ANALYZE saga_audit").execute(&mut any).await.expect("statistics");
        }
        for (index, sql) in reads {
            let plan = plan(&mut any, sql).await;
            let swift = plan.contains(&format!("using {index}"));
            assert!(swift && !plan.contains("Seq Scan") && !plan.contains("Sort"), "{plan}");
        }
        let plan = plan(&mut retention, forget.1).await;
        assert!(plan.contains(forget.0) && !plan.contains("Seq Scan"), "{plan}");
        assert!(!plan.contains("Sort"), "{plan}");
    }
}
