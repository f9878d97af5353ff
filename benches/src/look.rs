//! Questions to the database of a run, over a connection of the bench's own.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, SqliteConnection};

const SQLITE_BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
const POSTGRES_BYTES: &str = "SELECT pg_database_size(current_database())";

/// A connection that only reads. Every question is one that both databases understand, and asks for
/// whole numbers.
#[derive(Debug)]
pub(crate) enum Look {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Look {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        Ok(if url.starts_with("sqlite://") {
            Self::Sqlite(SqliteConnection::connect(url).await?)
        } else {
            Self::Postgres(PgConnection::connect(url).await?)
        })
    }

    /// The answer to a question that has one; `None` where the database says `NULL` or nothing.
    pub(crate) async fn number(&mut self, question: &'static str) -> anyhow::Result<Option<i64>> {
        let answer = match self {
            Self::Sqlite(db) => sqlx::query_scalar(question).fetch_optional(db).await,
            Self::Postgres(db) => sqlx::query_scalar(question).fetch_optional(db).await,
        };
        let answer: Option<Option<i64>> = answer.with_context(|| format!("asking `{question}`"))?;
        Ok(answer.flatten())
    }

    /// How many there are: the answer to a question that counts.
    pub(crate) async fn count(&mut self, question: &'static str) -> anyhow::Result<u64> {
        Ok(self.number(question).await?.unwrap_or_default().unsigned_abs())
    }

    /// The answers to a question that has many.
    pub(crate) async fn numbers(&mut self, question: &'static str) -> anyhow::Result<Vec<i64>> {
        let answers = match self {
            Self::Sqlite(db) => sqlx::query_scalar(question).fetch_all(db).await,
            Self::Postgres(db) => sqlx::query_scalar(question).fetch_all(db).await,
        };
        answers.with_context(|| format!("asking `{question}`"))
    }

    /// The bytes that the database takes on disk, with what updates have left behind in it. The
    /// write-ahead log is no part of it.
    pub(crate) async fn bytes(&mut self) -> anyhow::Result<u64> {
        let question = match self {
            Self::Sqlite(_) => SQLITE_BYTES,
            Self::Postgres(_) => POSTGRES_BYTES,
        };
        self.count(question).await
    }
}
