//! The guard rows in PostgreSQL.
//!
//! Transactions are `READ COMMITTED`: a claim waits for a concurrent holder of its guard row, and
//! the statement after it sees what the holder has committed.

use std::time::Duration;

use sqlx::{PgConnection, Postgres};

use super::guard::UNANSWERED;
use super::rows::{Dialect, Fate, GuardRow, GuardRows, Known, Statements, Value};
use crate::answer::Answer;

impl GuardRows for Postgres {
    type Dialect = PostgresDialect;
}

#[derive(Debug)]
pub struct PostgresDialect;

impl Dialect<Postgres> for PostgresDialect {
    const SQL: Statements = Statements {
        create_table: include_str!("postgres/create_table.sql"),
        create_index: include_str!("postgres/create_index.sql"),
        claim_guard: include_str!("postgres/claim_guard.sql"),
        answer_guard: include_str!("postgres/answer_guard.sql"),
        disclaim_guard: include_str!("postgres/disclaim_guard.sql"),
        delete_guards: include_str!("postgres/delete_guards.sql"),
    };
    // The limits, in milliseconds, let the server end a transaction whose client is gone or
    // silent, so that its guard row is not claimed for ever.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; \
         SET LOCAL lock_timeout = 5000; \
         SET LOCAL statement_timeout = 8000; \
         SET LOCAL idle_in_transaction_session_timeout = 8000";
    // Longer than the server's own limits, which end a transaction that is merely slow.
    const TRANSACTION_MAX: Option<Duration> = Some(Duration::from_secs(10));

    async fn execute(
        db: &mut PgConnection,
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

    async fn run(db: &mut PgConnection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(db).await.map(drop)
    }

    async fn select(
        db: &mut PgConnection,
        saga_id: &str,
        step: &str,
    ) -> Result<Vec<(String, i32, String)>, sqlx::Error> {
        sqlx::query_as(include_str!("postgres/select_guards.sql"))
            .bind(saga_id)
            .bind(step)
            .fetch_all(db)
            .await
    }

    async fn claim_all(
        db: &mut PgConnection,
        rows: &[GuardRow<'_>],
        now: i64,
    ) -> Result<Vec<Known>, sqlx::Error> {
        let [saga_ids, steps, ops] = columns(rows.iter().copied());
        sqlx::query_as(include_str!("postgres/claim_guards.sql"))
            .bind(saga_ids)
            .bind(steps)
            .bind(ops)
            .bind(UNANSWERED)
            .bind(now)
            .fetch_all(db)
            .await
    }

    async fn answer_all(
        db: &mut PgConnection,
        answers: &[(GuardRow<'_>, &Answer)],
        now: i64,
    ) -> Result<u64, sqlx::Error> {
        let [saga_ids, steps, ops] = columns(answers.iter().map(|(row, _)| *row));
        let answers = answers.iter().map(|(_, answer)| answer);
        let (statuses, bodies): (Vec<_>, Vec<_>) =
            answers.map(|answer| (i32::from(answer.status()), answer.body().to_owned())).unzip();
        let query = sqlx::query(include_str!("postgres/answer_guards.sql"))
            .bind(saga_ids)
            .bind(steps)
            .bind(ops)
            .bind(statuses)
            .bind(bodies)
            .bind(now);
        Ok(query.execute(db).await?.rows_affected())
    }

    fn fate(error: &sqlx::Error) -> Fate {
        match error {
            sqlx::Error::Database(_) => fate_of_state(&sqlstate(error)),
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => Fate::Lost,
            _ => Fate::Failed,
        }
    }

    fn is_created_already(error: &sqlx::Error) -> bool {
        // `IF NOT EXISTS` looks before it creates, and others may create in between.
        ["23505", "42P07", "42710"].contains(&sqlstate(error).as_str())
    }
}

/// Rows as the columns of an array each: saga, step and operation.
fn columns<'a>(rows: impl Iterator<Item = GuardRow<'a>>) -> [Vec<String>; 3] {
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for GuardRow { identity, op } in rows {
        columns[0].push(identity.saga_id.clone());
        columns[1].push(identity.step.clone());
        columns[2].push(op.to_string());
    }
    columns
}

/// The first entry whose code the SQLSTATE begins with counts; all others are failures.
const FATES: [(&str, Fate); 10] = [
    ("40003", Fate::Lost),
    ("40", Fate::TakenBack),
    ("55P03", Fate::Busy),
    ("08", Fate::Lost),
    ("57P01", Fate::Lost),
    ("57P02", Fate::Lost),
    ("57P03", Fate::Lost),
    ("57P05", Fate::Lost),
    ("25P03", Fate::Lost),
    // Read-only, as a server is that a failover left behind: another connection may do better.
    ("25006", Fate::Lost),
];

fn fate_of_state(state: &str) -> Fate {
    let known = FATES.iter().find(|(code, _)| state.starts_with(code));
    known.map_or(Fate::Failed, |(_, fate)| *fate)
}

fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|error| error.code());
    code.unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_that_can_break_a_transaction_has_its_fate() {
        for (state, fate) in [
            ("40001", Fate::TakenBack),
            ("40P01", Fate::TakenBack),
            ("40003", Fate::Lost),
            ("55P03", Fate::Busy),
            ("57P01", Fate::Lost),
            ("57P02", Fate::Lost),
            ("57P03", Fate::Lost),
            ("08006", Fate::Lost),
            ("25P03", Fate::Lost),
            ("25006", Fate::Lost),
            ("25P02", Fate::Failed),
            ("23505", Fate::Failed),
            ("57014", Fate::Failed),
            ("53100", Fate::Failed),
            ("", Fate::Failed),
        ] {
            assert_eq!(fate_of_state(state), fate, "{state}");
        }
    }

    #[test]
    fn a_broken_connection_is_lost_and_a_bad_value_is_a_failure() {
        let broken = sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(PostgresDialect::fate(&broken), Fate::Lost);
        assert_eq!(PostgresDialect::fate(&sqlx::Error::RowNotFound), Fate::Failed);
        assert_eq!(PostgresDialect::fate(&sqlx::Error::PoolTimedOut), Fate::Failed);
    }
}
