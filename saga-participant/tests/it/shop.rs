//! A participant with one business: it counts what it does for each saga.

use saga_participant::{
    Answer, Barrier, BarrierError, CallIdentity, GuardRows, Op, Problem, Refusal,
};
use sqlx::{Pool, Transaction};

/// A kind of database that the barrier is tested on.
pub(crate) trait Home: GuardRows {
    /// What leads to one database of this kind, and keeps it alive.
    type Place: Send + Sync;

    async fn new_place() -> Self::Place;

    /// A pool of its own on the database, as a process has it.
    async fn pool(place: &Self::Place) -> Pool<Self>;

    /// Begins a transaction as a caller of `act_in` should.
    async fn begin(pool: &Pool<Self>) -> Transaction<'static, Self>;

    /// Runs a statement without parameters.
    fn run(
        tx: &mut Self::Connection,
        statement: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Notes an effect of a call.
    fn effect(
        tx: &mut Self::Connection,
        identity: &CallIdentity,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// How many effects the calls of a saga had: of its action, of its compensation.
    async fn effects(pool: &Pool<Self>, saga_id: &str) -> (i64, i64);

    /// The number that a query without parameters answers.
    async fn number(pool: &Pool<Self>, query: &'static str) -> i64;
}

/// Implements [`Home`] for a database, but for what leads to it.
macro_rules! home {
    ($database:ty, $place:ty, $begin:literal, $new_place:expr, $pool:expr) => {
        impl crate::shop::Home for $database {
            type Place = $place;

            async fn new_place() -> $place {
                $new_place()
            }

            async fn pool(place: &$place) -> sqlx::Pool<Self> {
                $pool(place).await
            }

            async fn begin(pool: &sqlx::Pool<Self>) -> sqlx::Transaction<'static, Self> {
                pool.begin_with($begin).await.unwrap()
            }

            async fn run(
                tx: &mut Self::Connection,
                statement: &'static str,
            ) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(statement).execute(tx).await.map(drop)
            }

            async fn effect(
                tx: &mut Self::Connection,
                identity: &saga_participant::CallIdentity,
            ) -> Result<(), saga_participant::Refusal> {
                sqlx::query("INSERT INTO effect (saga_id, op) VALUES ($1, $2)")
                    .bind(&identity.saga_id)
                    .bind(identity.op.as_str())
                    .execute(tx)
                    .await?;
                Ok(())
            }

            async fn effects(pool: &sqlx::Pool<Self>, saga_id: &str) -> (i64, i64) {
                sqlx::query_as(
                    "SELECT count(*) FILTER (WHERE op = 'action'), \
                            count(*) FILTER (WHERE op = 'compensation') \
                     FROM effect WHERE saga_id = $1",
                )
                .bind(saga_id)
                .fetch_one(pool)
                .await
                .unwrap()
            }

            async fn number(pool: &sqlx::Pool<Self>, query: &'static str) -> i64 {
                sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
            }
        }
    };
}
pub(crate) use home;

tokio::task_local! {
    /// Whether the barriers of this test are grouped.
    pub(crate) static GROUPED: bool;
}

/// Makes tests of functions that take the database as their type: each runs on every database
/// whose feature is on, with barriers of both kinds.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => {
        #[cfg(feature = "sqlite")]
        crate::shop::of_one_kind!(sqlite, sqlx::Sqlite, false, $($test),+);
        #[cfg(feature = "sqlite")]
        crate::shop::of_one_kind!(sqlite_grouped, sqlx::Sqlite, true, $($test),+);
        #[cfg(feature = "postgres")]
        crate::shop::of_one_kind!(postgres, sqlx::Postgres, false, $($test),+);
        #[cfg(feature = "postgres")]
        crate::shop::of_one_kind!(postgres_grouped, sqlx::Postgres, true, $($test),+);
    };
}
pub(crate) use on_each_database;

macro_rules! of_one_kind {
    ($kind:ident, $database:ty, $is_grouped:literal, $($test:ident),+) => {
        mod $kind {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                crate::shop::GROUPED.scope($is_grouped, super::$test::<$database>()).await;
            })+
        }
    };
}
pub(crate) use of_one_kind;

/// The database of the participant and a barrier on it.
pub(crate) struct Shop<DB: Home> {
    pub(crate) barrier: Barrier<DB>,
    place: DB::Place,
}

impl<DB: Home> Shop<DB> {
    pub(crate) async fn open() -> Shop<DB> {
        let place = DB::new_place().await;
        let barrier = of_this_test(DB::pool(&place).await);
        barrier.migrate().await.unwrap();
        let shop = Shop { barrier, place };
        shop.run("CREATE TABLE effect (saga_id TEXT NOT NULL, op TEXT NOT NULL)").await;
        shop
    }

    /// A barrier with a pool of its own on the same database, as a second process would have it.
    pub(crate) async fn other_process(&self) -> Barrier<DB> {
        of_this_test(DB::pool(&self.place).await)
    }

    pub(crate) async fn run(&self, statement: &'static str) {
        let mut connection = self.barrier.pool().acquire().await.unwrap();
        DB::run(&mut connection, statement).await.unwrap();
    }

    /// How many effects the calls of `saga_id` had: of its action, of its compensation.
    pub(crate) async fn effects(&self, saga_id: &str) -> (i64, i64) {
        DB::effects(self.barrier.pool(), saga_id).await
    }

    pub(crate) async fn guard_rows(&self) -> i64 {
        DB::number(self.barrier.pool(), "SELECT count(*) FROM saga_barrier").await
    }
}

fn of_this_test<DB: Home>(pool: Pool<DB>) -> Barrier<DB> {
    let is_grouped = GROUPED.try_with(|is_grouped| *is_grouped).unwrap_or_default();
    if is_grouped { Barrier::new(pool).grouped() } else { Barrier::new(pool) }
}

pub(crate) fn action(saga_id: &str) -> CallIdentity {
    CallIdentity { saga_id: saga_id.to_owned(), step: "reserve".to_owned(), op: Op::Action }
}

pub(crate) fn compensation(saga_id: &str) -> CallIdentity {
    CallIdentity { op: Op::Compensation, ..action(saga_id) }
}

/// An action whose output tells for which saga it ran.
pub(crate) async fn act<DB: Home>(
    barrier: &Barrier<DB>,
    saga_id: &str,
) -> Result<Answer, BarrierError> {
    let identity = action(saga_id);
    let effect_of = identity.clone();
    barrier
        .act(&identity, async move |tx| {
            DB::effect(tx, &effect_of).await?;
            Ok(format!("done for {}", effect_of.saga_id))
        })
        .await
}

/// A compensation that demands to be given the output of its own saga's action.
pub(crate) async fn compensate<DB: Home>(
    barrier: &Barrier<DB>,
    saga_id: &str,
) -> Result<Answer, BarrierError> {
    let identity = compensation(saga_id);
    let effect_of = identity.clone();
    barrier
        .compensate(&identity, async move |tx, output: String| {
            assert_eq!(output, format!("done for {}", effect_of.saga_id));
            DB::effect(tx, &effect_of).await
        })
        .await
}

pub(crate) fn problem(answer: &Answer) -> Problem {
    serde_json::from_str(answer.body()).expect("an answer that is not processed is a problem")
}
