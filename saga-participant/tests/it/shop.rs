//! A participant with one business: it counts what it does for each saga.

use saga_participant::{Answer, Barrier, BarrierError, CallIdentity, Op, Problem, Refusal};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool};
use tempfile::TempDir;

/// The database of the participant and a barrier on it.
pub(crate) struct Shop {
    pub(crate) barrier: Barrier<Sqlite>,
    folder: TempDir,
}

impl Shop {
    pub(crate) async fn open() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(pool(&folder).await);
        barrier.migrate().await.unwrap();
        sqlx::query("CREATE TABLE effect (saga_id TEXT NOT NULL, op TEXT NOT NULL)")
            .execute(barrier.pool())
            .await
            .unwrap();
        Shop { barrier, folder }
    }

    /// A barrier with a pool of its own on the same file, as a second process would have it.
    pub(crate) async fn other_process(&self) -> Barrier<Sqlite> {
        Barrier::new(pool(&self.folder).await)
    }

    /// How many effects the calls of `saga_id` had: of its action, of its compensation.
    pub(crate) async fn effects(&self, saga_id: &str) -> (i64, i64) {
        sqlx::query_as(
            "SELECT count(*) FILTER (WHERE op = 'action'), \
                    count(*) FILTER (WHERE op = 'compensation') \
             FROM effect WHERE saga_id = $1",
        )
        .bind(saga_id)
        .fetch_one(self.barrier.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn guard_rows(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM saga_barrier")
            .fetch_one(self.barrier.pool())
            .await
            .unwrap()
    }
}

async fn pool(folder: &TempDir) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("shop.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap()
}

pub(crate) fn action(saga_id: &str) -> CallIdentity {
    CallIdentity { saga_id: saga_id.to_owned(), step: "reserve".to_owned(), op: Op::Action }
}

pub(crate) fn compensation(saga_id: &str) -> CallIdentity {
    CallIdentity { op: Op::Compensation, ..action(saga_id) }
}

pub(crate) async fn effect(
    tx: &mut SqliteConnection,
    identity: &CallIdentity,
) -> Result<(), Refusal> {
    sqlx::query("INSERT INTO effect (saga_id, op) VALUES ($1, $2)")
        .bind(&identity.saga_id)
        .bind(identity.op.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// An action whose output tells for which saga it ran.
pub(crate) async fn act(barrier: &Barrier<Sqlite>, saga_id: &str) -> Result<Answer, BarrierError> {
    let identity = action(saga_id);
    let effect_of = identity.clone();
    barrier
        .act(&identity, async move |tx| {
            effect(tx, &effect_of).await?;
            Ok(format!("done for {}", effect_of.saga_id))
        })
        .await
}

/// A compensation that demands to be given the output of its own saga's action.
pub(crate) async fn compensate(
    barrier: &Barrier<Sqlite>,
    saga_id: &str,
) -> Result<Answer, BarrierError> {
    let identity = compensation(saga_id);
    let effect_of = identity.clone();
    barrier
        .compensate(&identity, async move |tx, output: String| {
            assert_eq!(output, format!("done for {}", effect_of.saga_id));
            effect(tx, &effect_of).await
        })
        .await
}

pub(crate) fn problem(answer: &Answer) -> Problem {
    serde_json::from_str(answer.body()).expect("an answer that is not processed is a problem")
}
