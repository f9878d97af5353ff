//! An order and its saga appear together or not at all: the saga starts inside the transaction in
//! which the shop writes the order.
//!
//! `cargo run --package saga-examples --example start_in` uses a SQLite file; with the URL of a
//! PostgreSQL database as its argument (`-- postgres://user@host/database`) it uses that one.

use std::sync::Arc;

use saga_core::store::StartOutcome;
use saga_core::{Definition, Failure, IdempotencyKey, Input, Step, Store};
use saga_store::{PostgresOptions, PostgresStore, SqliteStore};
use saga_worker::{Client, Worker};
use sqlx::{Database, PgPool, SqlitePool, Transaction};

/// The shop's database, with the sagas' tables beside its own.
#[derive(Debug)]
pub(crate) enum Shop {
    Sqlite(SqlitePool, SqliteStore),
    Postgres(PgPool, PostgresStore),
}

/// How the transaction ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Commit,
    /// The shop changes its mind and rolls the transaction back.
    GiveUp,
    /// The process goes away before the commit.
    Crash,
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS shop_order (number TEXT PRIMARY KEY)";
const INSERT: &str = "INSERT INTO shop_order (number) VALUES ($1)";
const COUNT: &str = "SELECT count(*) FROM shop_order WHERE number = $1";

impl Shop {
    /// Opens `sqlite://..` or `postgres://..`.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            let store = SqliteStore::open(path).await?;
            let pool = SqlitePool::connect(url).await?;
            sqlx::query(CREATE).execute(&pool).await?;
            return Ok(Self::Sqlite(pool, store));
        }
        let store = PostgresStore::open(PostgresOptions::from_url(url)?).await?;
        let pool = PgPool::connect(url).await?;
        sqlx::query(CREATE).execute(&pool).await?;
        Ok(Self::Postgres(pool, store))
    }

    /// Writes an order and starts its saga, in one transaction.
    pub(crate) async fn place(
        &self,
        client: &Client,
        number: &str,
        end: End,
    ) -> anyhow::Result<()> {
        let saga = client.start("ship-order", number).key(number).prepare().await?;
        let outcome = match self {
            Self::Sqlite(pool, store) => {
                // IMMEDIATE, because one that reads first may not get the right to write later.
                let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(INSERT).bind(number).execute(&mut *tx).await?;
                let outcome = store.start_in(&mut tx, &saga).await?;
                finish(tx, end).await?;
                outcome
            }
            Self::Postgres(pool, store) => {
                let mut tx = pool.begin().await?;
                sqlx::query(INSERT).bind(number).execute(&mut *tx).await?;
                let outcome = store.start_in(&mut tx, &saga).await?;
                finish(tx, end).await?;
                outcome
            }
        };
        // An order that is new has no saga yet.
        anyhow::ensure!(outcome == StartOutcome::Created, "order {number} has a saga: {outcome:?}");
        Ok(())
    }

    /// Whether the order is there for others to see.
    pub(crate) async fn has_order(&self, number: &str) -> anyhow::Result<bool> {
        let count: i64 = match self {
            Self::Sqlite(pool, _) => sqlx::query_scalar(COUNT).bind(number).fetch_one(pool).await?,
            Self::Postgres(pool, _) => {
                sqlx::query_scalar(COUNT).bind(number).fetch_one(pool).await?
            }
        };
        Ok(count == 1)
    }

    /// The sagas' side of the database, for clients and workers.
    pub(crate) fn sagas(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(_, store) => Arc::new(store.clone()),
            Self::Postgres(_, store) => Arc::new(store.clone()),
        }
    }
}

async fn finish<DB: Database>(tx: Transaction<'_, DB>, end: End) -> sqlx::Result<()> {
    match end {
        End::Commit => tx.commit().await,
        End::GiveUp => tx.rollback().await,
        End::Crash => {
            drop(tx);
            Ok(())
        }
    }
}

/// What is to be done for an order that was placed.
pub(crate) fn ship_order() -> anyhow::Result<Definition> {
    async fn ship(Input(number): Input<String>) -> Result<(), Failure> {
        println!("{number} is shipped");
        Ok(())
    }
    Ok(Definition::new("ship-order", [Step::pivot("ship", ship)])?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let process = std::process::id();
    let file = std::env::temp_dir().join(format!("saga-start-in-{process}.db"));
    let url = std::env::args().nth(1).unwrap_or_else(|| format!("sqlite://{}", file.display()));
    let shop = Shop::open(&url).await?;
    let client = Client::new(shop.sagas(), vec![ship_order()?])?;
    // It may as well run in another process: it finds the sagas in the database.
    let worker = Worker::builder(shop.sagas()).register(ship_order()?).start().await?;

    for end in [End::Commit, End::GiveUp, End::Crash] {
        let number = format!("order-{process}-{end:?}").to_lowercase();
        shop.place(&client, &number, end).await?;
        let saga = client.find_by_key("ship-order", &IdempotencyKey::new(&number)?).await?;
        let verdict = match &saga {
            Some(saga) => client.verdict(saga.id).await?.to_string(),
            None => "no saga".to_owned(),
        };
        let order = if shop.has_order(&number).await? { "the order" } else { "no order" };
        println!("{end:?}: {order}, {verdict}");
    }
    worker.shutdown().await;
    Ok(())
}
