//! The PostgreSQL store on a real server.

#![cfg(feature = "postgres")]

use std::sync::Arc;

use async_trait::async_trait;
use saga_core::store::conformance::Harness;
use saga_core::store::{Claim, Inbox, Leases, SagaLog, SagaRow, StoreError, SubmitOutcome};
use saga_core::{Command, CommandAction, IdempotencyKey, SagaId, Store};
use saga_store::{PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, ConnectOptions};

#[allow(dead_code, reason = "shared with the tests of SQLite, which use all of it")]
#[path = "it/driven.rs"]
mod driven;

/// A fresh database; each handle on it has connections of its own.
struct Fresh(String);

#[async_trait]
impl Harness for Fresh {
    async fn open(&self) -> Arc<dyn Store> {
        let options = PostgresOptions::from_url(&self.0).expect("the fixture's URL");
        Arc::new(PostgresStore::open(options).await.expect("a fresh database opens"))
    }
}

fn fresh() -> Fresh {
    Fresh(throwaway_postgres::fresh_database().unwrap_or_else(|error| panic!("{error}")))
}

/// The same with every statement of the hot path kept within one bucket, as tables spread over
/// machines need it.
struct Spread(Fresh);

#[async_trait]
impl Harness for Spread {
    async fn open(&self) -> Arc<dyn Store> {
        let options = PostgresOptions::from_url(&self.0.0).expect("the fixture's URL");
        let store = PostgresStore::open(options.distributed(true)).await;
        Arc::new(store.expect("a fresh database opens"))
    }
}

/// The name tells `cargo xtask test` which tests need a server.
mod postgres {
    use super::*;
    use driven::{Driven, LONG, PAST, card, order};

    mod feed;
    mod heartbeat;
    mod plans;

    saga_core::store_conformance!(fresh());

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_that_meet_a_new_database_at_once_one_migrates_and_all_open_it() {
        for _ in 0..5 {
            let fresh = Arc::new(fresh());
            let opening = (0..8).map(|_| {
                let fresh = fresh.clone();
                tokio::spawn(async move { fresh.open().await.counts().await })
            });
            for opened in opening.collect::<Vec<_>>() {
                assert_eq!(opened.await.expect("it opens").expect("it answers"), []);
            }
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

    #[tokio::test]
    async fn unreadable_sagas_and_commands_do_not_keep_a_worker_from_the_others() {
        let Fresh(url) = fresh();
        let options = PostgresOptions::from_url(&url).expect("the fixture's URL");
        let store = PostgresStore::open(options).await.expect("a fresh database opens");
        let options: sqlx::postgres::PgConnectOptions = url.parse().expect("the fixture's URL");
        let mut db = options.connect().await.expect("a connection to tamper through");
        let card = card();
        let worker = card.id;
        store.enlist(&card, LONG).await.expect("a lease");
        let (damaged, new) = Driven::start(worker);
        store.start(new).await.expect("a start");
        let (sound, new) = Driven::start(worker);
        store.start(new).await.expect("a start");
        for request_id in ["request-1", "request-2"] {
            let submitted = store.submit(sound.id, &pause(request_id)).await;
            assert_eq!(submitted, Ok(SubmitOutcome::Queued));
        }
        let id: String = damaged.id.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for damage in [
            format!("UPDATE saga SET status = 'nonsense' WHERE id = '\\x{id}'"),
            "UPDATE saga_command SET body = '{}' WHERE request_id = 'request-1'".to_owned(),
        ] {
            let done = sqlx::query(AssertSqlSafe(damage)).execute(&mut db).await;
            assert_eq!(done.expect("the tampering").rows_affected(), 1);
        }
        let ids = |rows: Result<Vec<SagaRow>, StoreError>| -> Vec<SagaId> {
            rows.expect("the readable ones").iter().map(|row| row.id).collect()
        };
        assert_eq!(ids(store.owned(worker).await), [sound.id]);
        let pending = store.pending(worker, 10).await;
        assert_eq!(pending, Ok(vec![(sound.id, pause("request-2"))]));
        for id in [damaged.id, sound.id] {
            store.release(id, worker, 1, Some(PAST)).await.expect("a release");
        }
        let claim = Claim { worker, definitions: vec![order().reference()], limit: 10 };
        assert_eq!(ids(store.claim(&claim).await), [sound.id]);
    }

    mod distributed {
        use super::super::{Spread, fresh};

        saga_core::store_conformance!(Spread(fresh()));
    }
}

#[test]
fn a_url_says_whether_the_tables_are_distributed() {
    let says = |parameters: &str| {
        let url = format!("postgres://saga@127.0.0.1/saga{parameters}");
        PostgresOptions::from_url(&url).map(|options| format!("{options:?}"))
    };
    let on = says("?sslmode=disable&distributed=true&application_name=x").expect("a good URL");
    assert!(on.contains("distributed: true") && on.contains("ssl_mode: Disable"), "{on}");
    for off in ["", "?distributed=false", "?sslmode=disable"] {
        let off = says(off).expect("a good URL");
        assert!(off.contains("distributed: false"), "{off}");
    }
    let error = says("?distributed=yes").expect_err("neither true nor false").to_string();
    assert!(error.contains("distributed=yes") && error.contains("true or false"), "{error}");
}
