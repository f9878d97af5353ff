//! Real daemons on a real PostgreSQL: killed, two at a time, and as a role that may change little.

use std::path::Path;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::process::{BINARY, Served, embed, folder, program, stderr, stdout};
use crate::support::PATIENCE;

fn database() -> String {
    throwaway_postgres::fresh_database().unwrap()
}

/// Starts a saga whose pivot takes so long, and waits until it is being called.
fn boiling(served: &Served, boil_ms: u32) -> String {
    let tea = format!("{{\"cups\": 2, \"boil_ms\": {boil_ms}}}");
    let started = served.json(&["start", "brew-tea", &tea, "--key", "tea-1"]);
    let id = started["id"].as_str().unwrap().to_owned();
    served.until(&id, 1, "received");
    id
}

#[test]
fn a_saga_in_flight_when_its_daemon_is_killed_goes_on_in_the_next_one() {
    let (folder, url) = (folder(), database());
    let first = Served::start(folder.path(), &["--store", &url]);
    assert!(!first.banner.contains("sqlite"), "{}", first.banner);
    let id = boiling(&first, 2_500);
    first.signal("KILL");
    assert_eq!(first.code(), None, "it died of the signal");
    let second = Served::start(folder.path(), &["--store", &url]);
    let again =
        second.json(&["start", "brew-tea", "{\"cups\": 2, \"boil_ms\": 2500}", "--key", "tea-1"]);
    assert_eq!(again["id"], id, "the start was durable");
    let ended = second.run(&["get", &id, "--wait", "60s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
    let log = stdout(&second.run(&["log", &id]));
    assert!(log.contains("worker lost") && log.contains("step boil received (attempt 2)"), "{log}");
}

#[test]
fn of_two_daemons_on_one_database_either_answers_and_the_survivor_goes_on() {
    let (folder, url) = (folder(), database());
    let [first, second] = [(); 2].map(|()| Served::start(folder.path(), &["--store", &url]));
    let id = boiling(&first, 2_500);
    assert_eq!(second.json(&["get", &id])["status"], "running", "the other one knows it");
    let workers = second.http("/v1/workers");
    assert_eq!(workers.matches("\"lease_until\"").count(), 2, "{workers}");
    first.signal("KILL");
    first.code();
    let ended = second.run(&["get", &id, "--wait", "60s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
    let log = stdout(&second.run(&["log", &id]));
    assert!(log.contains("worker lost"), "{log}");
}

#[test]
fn a_drain_hands_over_what_it_cannot_wait_for_long_before_the_lease_runs_out() {
    let (folder, url) = (folder(), database());
    let flags = ["--store", &url, "--worker-lease-ttl", "300s", "--worker-drain-timeout", "100ms"];
    let [first, second] = [(); 2].map(|()| Served::start(folder.path(), &flags));
    let id = boiling(&first, 2_500);
    first.signal("TERM");
    assert_eq!(first.code(), Some(0));
    let begun = Instant::now();
    let ended = second.run(&["get", &id, "--wait", "60s"]);
    assert_eq!(ended.status.code(), Some(0), "{}", stdout(&ended));
    assert!(begun.elapsed() < PATIENCE, "it was handed over and not waited for");
    let log = stdout(&second.run(&["log", &id]));
    assert!(!log.contains("worker lost"), "{log}");
}

async fn execute(url: &str, sql: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await;
    done.unwrap_or_else(|error| panic!("{error}: {sql}"));
    db.close().await.unwrap();
}

/// The same database as another role.
fn as_role(url: &str, role: &str) -> String {
    let mut url = reqwest::Url::parse(url).unwrap();
    url.set_username(role).unwrap();
    url.set_password(Some("hush")).unwrap();
    url.to_string()
}

/// The two roles of the packaged file, under names of this database alone: roles belong to the
/// whole server.
async fn roles(url: &str) -> (String, String, String) {
    let tag = uuid::Uuid::new_v4().simple().to_string();
    let (owner, runner) = (format!("saga_migrate_{tag}"), format!("saga_run_{tag}"));
    let set_up = format!(
        "CREATE ROLE {owner} LOGIN PASSWORD 'hush'; CREATE ROLE {runner} LOGIN PASSWORD 'hush';
         CREATE SCHEMA saga AUTHORIZATION {owner};
         ALTER ROLE {owner} SET search_path = saga; ALTER ROLE {runner} SET search_path = saga;"
    );
    execute(url, &set_up).await;
    let grants = include_str!("../../packaging/postgres-roles.sql").replace("saga_run", &runner);
    (as_role(url, &owner), as_role(url, &runner), grants)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_runs_as_a_role_that_can_change_neither_tables_nor_the_log() {
    let (folder, url) = (folder(), database());
    let (owner, runner, grants) = roles(&url).await;
    let saga = |arguments: &[&str]| program(Path::new(BINARY)).args(arguments).output().unwrap();
    let early = saga(&["serve", "--no-migrate", "--listen", "127.0.0.1:0", "--store", &runner]);
    assert_eq!(early.status.code(), Some(78), "{}", stderr(&early));
    assert!(stderr(&early).contains("saga-worker migrate"), "{}", stderr(&early));
    let checked = saga(&["migrate", "--check", "--store", &owner]);
    assert_eq!(checked.status.code(), Some(1), "{}", stderr(&checked));
    assert!(stdout(&checked).contains("0001_saga_log"), "{}", stdout(&checked));
    let migrated = saga(&["migrate", "--store", &owner]);
    assert_eq!(migrated.status.code(), Some(0), "{}", stderr(&migrated));
    execute(&owner, &grants).await;
    let checked = saga(&["migrate", "--check", "--store", &runner]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));

    let served = Served::of(&embed(), folder.path(), &["--no-migrate", "--store", &runner]);
    assert!(!served.banner.contains("hush"), "{}", served.banner);
    let done = served.run(&["start", "brew-tea", "{\"cups\": 1}", "--wait", "60s"]);
    assert_eq!(done.status.code(), Some(0), "{} {}", stderr(&done), served.log());
    let refused = served.run(&["start", "brew-tea", "{\"cups\": 99}", "--wait", "60s"]);
    assert_eq!(refused.status.code(), Some(10), "{} {}", stderr(&refused), served.log());
    let saga = served.json(&["list", "--limit", "1"])["sagas"][0]["id"].clone();
    served.run(&["pause", saga.as_str().unwrap(), "--reason", "closing time"]);
    let entry = served.json(&["audit"])["entries"][0].clone();
    assert_eq!((&entry["target"], &entry["status"]), (&saga, &serde_json::json!(409)), "{entry}");
    served.signal("TERM");
    assert_eq!(served.code(), Some(0));

    let mut db = PgConnection::connect(&runner).await.unwrap();
    for forbidden in [
        "UPDATE saga_log SET body = '{}'",
        "DELETE FROM saga_log",
        "TRUNCATE saga_log",
        "DROP TABLE saga_log",
        "CREATE TABLE saga_mine (a int4)",
        "ALTER TABLE saga ADD COLUMN mine int4",
        "UPDATE saga_meta SET value = 1",
        "DELETE FROM saga_migration",
        "DELETE FROM saga_definition",
        "UPDATE saga_audit SET actor = 'somebody-else'",
        "TRUNCATE saga_audit",
    ] {
        let refused = sqlx::query(forbidden).execute(&mut db).await.unwrap_err().to_string();
        let denied = refused.contains("permission denied") || refused.contains("must be owner");
        assert!(denied, "{forbidden}: {refused}");
    }
}

/// What the packaged file grants only to daemons with `worker.retention`.
fn grants_of_retention(grants: &str) -> String {
    let (_, after) = grants.split_once("-- With worker.retention").unwrap();
    let statements = after.lines().filter_map(|line| line.strip_prefix("--   "));
    statements.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_needs_the_grants_of_its_own_and_no_others() {
    let (folder, url) = (folder(), database());
    let (owner, runner, grants) = roles(&url).await;
    let migrated =
        program(Path::new(BINARY)).args(["migrate", "--store", &owner]).output().unwrap();
    assert_eq!(migrated.status.code(), Some(0), "{}", stderr(&migrated));
    execute(&owner, &grants).await;
    let flags = ["--no-migrate", "--store", &runner, "--worker-retention", "1s"];
    let served = Served::of(&embed(), folder.path(), &flags);
    let done = served.run(&["start", "brew-tea", "{\"cups\": 1}", "--wait", "60s"]);
    assert_eq!(done.status.code(), Some(0), "{} {}", stderr(&done), served.log());
    served.until_logged("cannot delete ended sagas");
    assert!(served.log().contains("permission denied"), "{}", served.log());
    execute(&owner, &grants_of_retention(&grants)).await;
    let deadline = Instant::now() + PATIENCE;
    while !served.http("/v1/sagas").contains("\"sagas\":[]") {
        assert!(Instant::now() < deadline, "it is never deleted: {}", served.log());
    }
    served.signal("TERM");
    assert_eq!(served.code(), Some(0));
    let mut db = PgConnection::connect(&runner).await.unwrap();
    for forbidden in
        ["UPDATE saga_log SET body = '{}'", "DELETE FROM saga_meta", "TRUNCATE saga_log"]
    {
        let refused = sqlx::query(forbidden).execute(&mut db).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{forbidden}: {refused}");
    }
}
