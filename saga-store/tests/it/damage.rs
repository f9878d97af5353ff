//! Rows that make no sense: named by table and id, and no obstacle to the others.

use std::sync::Arc;

use saga_core::SagaId;
use saga_core::store::{
    Claim, Definitions, Inbox, Leases, Query, SagaLog, SagaRow, StoreError, SubmitOutcome,
};
use saga_core::{Command, CommandAction, IdempotencyKey, WorkerId};
use saga_store::SqliteStore;
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};
use tempfile::TempDir;

use crate::driven::{Driven, LONG, PAST, card, order};

/// A store with one saga in it, and a way to tamper with its file.
struct Tampered {
    store: SqliteStore,
    db: SqliteConnection,
    worker: WorkerId,
    id: SagaId,
    _folder: Arc<TempDir>,
}

async fn tampered() -> Tampered {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("saga.db");
    let store = SqliteStore::open(&path).await.expect("a database");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let db = options.connect().await.expect("the file opens");
    let card = card();
    store.enlist(&card, LONG).await.expect("a lease");
    let (mut driven, new) = Driven::start(card.id);
    store.start(new).await.expect("a start");
    store.append(driven.advance().expect("a transition")).await.expect("an append");
    Tampered { store, db, worker: card.id, id: driven.id, _folder: Arc::new(folder) }
}

impl Tampered {
    async fn run(&mut self, sql: &str) {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut self.db).await;
        assert!(done.expect(sql).rows_affected() > 0, "{sql}");
    }
}

fn pause(request_id: &str) -> Command {
    Command {
        request_id: IdempotencyKey::new(request_id).expect("a short key"),
        actor: "ops".into(),
        reason: "a test".into(),
        action: CommandAction::Pause,
        expected_seq: None,
    }
}

/// The message of an error about something unreadable.
fn unreadable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Corrupt(what)) => what,
        other => panic!("not unreadable: {other:?}"),
    }
}

#[tokio::test]
async fn an_unreadable_state_row_is_named_with_its_column() {
    let mut tampered = tampered().await;
    let id = tampered.id.to_string();
    for (column, value) in [
        ("status", "'nonsense'"),
        ("wait", "'{'"),
        ("version", "-1"),
        ("seq", "-1"),
        ("claims", "-1"),
        ("digest", "x'0102'"),
        ("owner", "x'0102'"),
        ("key", "''"),
    ] {
        let keep = "CREATE TEMP TABLE kept AS SELECT * FROM saga";
        sqlx::query(keep).execute(&mut tampered.db).await.expect("kept");
        tampered.run(&format!("UPDATE saga SET {column} = {value}")).await;
        for what in [
            unreadable(tampered.store.row(tampered.id).await),
            unreadable(tampered.store.load(tampered.id).await),
            unreadable(tampered.store.find(&Query::default()).await),
        ] {
            let place = format!("table saga, row {id}, column {column}");
            assert!(what.starts_with(&place), "{what} should begin with {place}");
        }
        tampered.run("DELETE FROM saga").await;
        tampered.run("INSERT INTO saga SELECT * FROM kept").await;
        sqlx::query("DROP TABLE kept").execute(&mut tampered.db).await.expect("dropped");
    }
    tampered.run("UPDATE saga SET status = CAST(x'ff' AS TEXT)").await;
    let what = unreadable(tampered.store.row(tampered.id).await);
    assert!(what.contains("table saga") && what.contains(&id), "{what}");
}

#[tokio::test]
async fn an_unreadable_log_row_is_named() {
    let mut tampered = tampered().await;
    tampered.run("UPDATE saga_log SET digest = x'0102' WHERE seq = 2").await;
    let what = unreadable(tampered.store.load(tampered.id).await);
    let place = format!("table saga_log, row {} seq 2, column digest", tampered.id);
    assert!(what.starts_with(&place), "{what}");
    tampered.run("UPDATE saga_log SET body = CAST(x'ff' AS TEXT) WHERE seq = 2").await;
    let what = unreadable(tampered.store.log(tampered.id, 0, 10).await);
    assert!(what.contains(&format!("table saga_log, rows of {}", tampered.id)), "{what}");
}

#[tokio::test]
async fn unreadable_commands_and_workers_and_definitions_are_named() {
    let mut tampered = tampered().await;
    let asked = pause("request-1");
    let submitted = tampered.store.submit(tampered.id, &asked).await;
    assert_eq!(submitted, Ok(SubmitOutcome::Queued));
    tampered.run("UPDATE saga_command SET body = '{}'").await;
    for what in [
        unreadable(tampered.store.commands(tampered.id).await),
        unreadable(tampered.store.submit(tampered.id, &asked).await),
    ] {
        let place = format!("table saga_command, row {}, column body", tampered.id);
        assert!(what.starts_with(&place), "{what}");
    }
    tampered.run("UPDATE saga_worker SET definitions = 'none'").await;
    let what = unreadable(tampered.store.workers().await);
    assert!(what.starts_with("table saga_worker, row "), "{what}");

    tampered.store.publish(&order()).await.expect("a definition");
    tampered.run("UPDATE saga_definition SET spec = '[]'").await;
    let what = unreadable(tampered.store.definition("order", 1).await);
    assert!(what.starts_with("table saga_definition, row order v1, column spec"), "{what}");
}

#[tokio::test]
async fn a_log_that_contradicts_the_state_row_is_not_written_over() {
    let mut tampered = tampered().await;
    let (row, log) = tampered.store.load(tampered.id).await.expect("a read").expect("the saga");
    let mut driven = Driven::resume(&row, &log);
    let (next, after) = (driven.advance().expect("a transition"), driven.advance());
    let claim_back = format!("UPDATE saga SET seq = {}", next.row.seq);
    tampered.store.append(next).await.expect("an append");
    tampered.store.append(after.clone().expect("a transition")).await.expect("an append");
    tampered.run(&claim_back).await;
    let mut other = after.expect("a transition");
    other.row.body = "[]".into();
    let error = tampered.store.append(other).await.expect_err("the row is there already");
    assert!(error.to_string().contains("contradict"), "{error}");
}

/// Values that make no sense: one that the store cannot read, one that not even the driver can.
const UNREADABLE: [&str; 2] = ["'nonsense'", "CAST(x'ff' AS TEXT)"];

#[tokio::test]
async fn an_unreadable_saga_does_not_keep_a_worker_from_the_others() {
    for nonsense in UNREADABLE {
        let mut tampered = tampered().await;
        let (sound, new) = Driven::start(tampered.worker);
        tampered.store.start(new).await.expect("a start");
        let (worker, definitions) = (tampered.worker, vec![order().reference()]);
        let ids = |rows: Result<Vec<SagaRow>, StoreError>| -> Vec<SagaId> {
            rows.expect("the readable ones").iter().map(|row| row.id).collect()
        };
        assert_eq!(ids(tampered.store.owned(worker).await).len(), 2);
        for id in [tampered.id, sound.id] {
            tampered.store.release(id, worker, 1, Some(PAST)).await.expect("a release");
        }
        tampered.run(&format!("UPDATE saga SET status = {nonsense} WHERE seq = 2")).await;
        let claim = Claim { worker, definitions, limit: 10 };
        assert_eq!(ids(tampered.store.claim(&claim).await), [sound.id]);
        assert_eq!(ids(tampered.store.owned(worker).await), [sound.id]);
    }
}

#[tokio::test]
async fn an_unreadable_command_does_not_keep_a_worker_from_the_others() {
    for nonsense in UNREADABLE {
        let mut tampered = tampered().await;
        for request_id in ["request-1", "request-2"] {
            let asked = pause(request_id);
            let submitted = tampered.store.submit(tampered.id, &asked).await;
            assert_eq!(submitted, Ok(SubmitOutcome::Queued));
        }
        let damage = "WHERE request_id = 'request-1'";
        tampered.run(&format!("UPDATE saga_command SET body = {nonsense} {damage}")).await;
        let pending = tampered.store.pending(tampered.worker, 10).await;
        assert_eq!(pending, Ok(vec![(tampered.id, pause("request-2"))]));
    }
}
