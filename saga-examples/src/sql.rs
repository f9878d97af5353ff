//! SQL for either database: business code is written once, in the words that both understand.
//!
//! A service that knows its database needs nothing of this: it writes `sqlx::query(..)`, or with
//! rusqlite `db.execute(..)`, with the connection that the barrier hands it.

mod grouped;

use saga_participant::{GuardRows, Refusal};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Database, FromRow, PgConnection, Postgres, Sqlite, SqliteConnection};

pub use grouped::Grouped;

/// The tables of a service, in the words of each database. Creating them again changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

/// Two changes, of which the second is only made where the first has found a row: both take the same
/// values. PostgreSQL takes them as one statement, which saves a round trip while a row is locked that
/// others wait for; on SQLite there is none to save.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// For SQLite.
    pub sqlite: [&'static str; 2],
    /// For PostgreSQL; the rows that it changes are those of the second.
    pub postgres: &'static str,
}

/// A value of a `$1` in a statement.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A number.
    Number(i64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

/// What is read from a database, whatever reads it: a tuple of `i64`, `String` and options of them.
pub trait Record:
    for<'r> FromRow<'r, SqliteRow>
    + for<'r> FromRow<'r, PgRow>
    + for<'r> TryFrom<&'r rusqlite::Row<'r>, Error = rusqlite::Error>
    + Send
    + Unpin
{
}

impl<R> Record for R where
    R: for<'r> FromRow<'r, SqliteRow>
        + for<'r> FromRow<'r, PgRow>
        + for<'r> TryFrom<&'r rusqlite::Row<'r>, Error = rusqlite::Error>
        + Send
        + Unpin
{
}

/// What went wrong in a database.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// A statement that has to find a row found none.
    #[error("there is no such row")]
    NoRow,
    /// A row has changed between two statements; another try finds it as it is.
    #[error("the row has changed meanwhile")]
    Changed,
    /// What sqlx says. The barrier looks for it to tell whether another try may help.
    #[error("{0}")]
    Sqlx(#[from] sqlx::Error),
    /// What rusqlite says.
    #[error("{0}")]
    Rusqlite(#[from] rusqlite::Error),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Refusal::failed(error)
    }
}

/// A way to run statements: [`Postgres`] and [`Sqlite`] through sqlx, [`Grouped`] through rusqlite.
pub trait Sql: Send + Sync + 'static {
    /// The connection that business code is handed, inside its transaction.
    type Tx: Send;

    /// Runs a statement and returns how many rows it changed.
    fn execute(
        tx: &mut Self::Tx,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, SqlError>> + Send;

    /// Makes two changes and returns how many rows the second has changed.
    fn execute_pair(
        tx: &mut Self::Tx,
        pair: Pair,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<u64, SqlError>> + Send {
        async move {
            let [first, second] = pair.sqlite;
            match Self::execute(tx, first, values).await? {
                0 => Ok(0),
                _ => Self::execute(tx, second, values).await,
            }
        }
    }

    /// Runs a statement and returns its rows.
    fn fetch<R: Record>(
        tx: &mut Self::Tx,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Vec<R>, SqlError>> + Send;

    /// Runs a statement and returns its first row, if it has one.
    fn fetch_optional<R: Record>(
        tx: &mut Self::Tx,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<Option<R>, SqlError>> + Send {
        let rows = Self::fetch(tx, statement, values);
        async move { Ok(rows.await?.into_iter().next()) }
    }

    /// Runs a statement and returns its first row.
    ///
    /// # Errors
    /// [`SqlError::NoRow`] when there is none.
    fn fetch_one<R: Record>(
        tx: &mut Self::Tx,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> impl Future<Output = Result<R, SqlError>> + Send {
        let row = Self::fetch_optional(tx, statement, values);
        async move { row.await?.ok_or(SqlError::NoRow) }
    }
}

/// A database that a service is set up in and whose books are read, through a pool.
pub trait Home: GuardRows + Sql<Tx = <Self as Database>::Connection> {
    /// Begins a transaction that creates tables.
    const BEGIN: &'static str;
    /// Begins a transaction that reads the database as of one instant.
    const BEGIN_SNAPSHOT: &'static str;

    /// The schema in the words of this database.
    fn words(schema: Schema) -> &'static str;

    /// Runs statements without values.
    fn run(
        db: &mut Self::Tx,
        statements: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Gives the values to a query; a macro because the two kinds of query have nothing in common.
macro_rules! bind {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Text(text) => query.bind(text.to_owned()),
                Value::Number(number) => query.bind(number),
            };
        }
        query
    }};
}

/// What is the same but for the types.
macro_rules! statements {
    ($connection:ty) => {
        type Tx = $connection;

        async fn execute(
            db: &mut $connection,
            statement: &'static str,
            values: &[Value<'_>],
        ) -> Result<u64, SqlError> {
            Ok(bind!(sqlx::query(statement), values).execute(db).await?.rows_affected())
        }

        async fn fetch<R: Record>(
            db: &mut $connection,
            statement: &'static str,
            values: &[Value<'_>],
        ) -> Result<Vec<R>, SqlError> {
            Ok(bind!(sqlx::query_as(statement), values).fetch_all(db).await?)
        }
    };
}

impl Sql for Sqlite {
    statements!(SqliteConnection);
}

impl Sql for Postgres {
    statements!(PgConnection);

    async fn execute_pair(
        db: &mut PgConnection,
        pair: Pair,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        Self::execute(db, pair.postgres, values).await
    }
}

impl Home for Sqlite {
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN";

    fn words(schema: Schema) -> &'static str {
        schema.sqlite
    }

    async fn run(db: &mut SqliteConnection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(db).await.map(drop)
    }
}

impl Home for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const BEGIN_SNAPSHOT: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

    fn words(schema: Schema) -> &'static str {
        schema.postgres
    }

    async fn run(db: &mut PgConnection, statements: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statements).execute(db).await.map(drop)
    }
}
