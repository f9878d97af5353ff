//! The guard rows in SQLite.
//!
//! Every transaction is `BEGIN IMMEDIATE`: SQLite then has one writer at a time from the first
//! statement on. (A transaction that reads first and writes later fails with SQLITE_BUSY when
//! another one wrote in between.)

use sqlx::{Sqlite, SqliteConnection};

use super::rows::{Dialect, Fate, GuardRows, Statements, Value};

impl GuardRows for Sqlite {
    type Dialect = SqliteDialect;
}

#[derive(Debug)]
pub struct SqliteDialect;

impl Dialect<Sqlite> for SqliteDialect {
    const SQL: Statements = Statements {
        create_table: include_str!("sqlite/create_table.sql"),
        create_index: include_str!("sqlite/create_index.sql"),
        claim_guard: include_str!("sqlite/claim_guard.sql"),
        answer_guard: include_str!("sqlite/answer_guard.sql"),
        disclaim_guard: include_str!("sqlite/disclaim_guard.sql"),
        delete_guards: include_str!("sqlite/delete_guards.sql"),
    };
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn execute(
        db: &mut SqliteConnection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        let mut query = sqlx::query(statement);
        for value in values {
            query = match *value {
                Value::Text(text) => query.bind(text.to_owned()),
                Value::Number(number) => query.bind(number),
            };
        }
        Ok(query.execute(db).await?.rows_affected())
    }

    async fn run(db: &mut SqliteConnection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(db).await.map(drop)
    }

    async fn select(
        db: &mut SqliteConnection,
        saga_id: &str,
        step: &str,
    ) -> Result<Vec<(String, i32, String)>, sqlx::Error> {
        sqlx::query_as(include_str!("sqlite/select_guards.sql"))
            .bind(saga_id)
            .bind(step)
            .fetch_all(db)
            .await
    }

    fn fate(_error: &sqlx::Error) -> Fate {
        // The writer is alone, and there is no connection that could be lost.
        Fate::Failed
    }

    fn is_created_already(_error: &sqlx::Error) -> bool {
        false
    }
}
