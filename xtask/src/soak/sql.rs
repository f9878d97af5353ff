//! Reading the databases of the sagas and the participants, whichever kind they are.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, FromRow, PgConnection, SqliteConnection};

/// How long one reading may take: the server may be down, or a connection silent.
const READ_MAX: Duration = Duration::from_secs(60);

/// Where a database is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// The URL of a server's database, and the schema in it.
    Postgres { url: String, schema: &'static str },
}

/// What can be read from either kind: a tuple of integers, texts, bytes and options of them.
pub(super) trait Record:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<R> Record for R where
    R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// A connection that is opened when it is needed, and again after a failure.
#[derive(Debug)]
pub(super) struct Reader {
    place: Place,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Reader {
    /// A reader of the database at `place`.
    pub(super) fn new(place: Place) -> Self {
        Self { place, connection: None }
    }

    /// The rows of a query, with `numbers` for its `$1`, `$2`..
    ///
    /// # Errors
    /// When the database cannot be read now; the next reading connects anew.
    pub(super) async fn rows<R: Record>(
        &mut self,
        query: &'static str,
        numbers: &[i64],
    ) -> anyhow::Result<Vec<R>> {
        // A connection whose use was given up half-way is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.place.connect().await?,
        };
        let read = tokio::time::timeout(READ_MAX, connection.rows(query, numbers)).await;
        let rows = read.context("the database does not answer")?;
        let rows = rows.with_context(|| format!("cannot read `{query}`"))?;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// The one number that a query gives.
    ///
    /// # Errors
    /// As [`Reader::rows`], and when there is none.
    pub(super) async fn number(
        &mut self,
        query: &'static str,
        numbers: &[i64],
    ) -> anyhow::Result<i64> {
        let rows: Vec<(i64,)> = self.rows(query, numbers).await?;
        rows.first().map(|(number,)| *number).with_context(|| format!("no row from `{query}`"))
    }
}

impl Place {
    async fn connect(&self) -> anyhow::Result<Connection> {
        let connected = match self {
            Self::Sqlite(path) => {
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .busy_timeout(Duration::from_secs(10));
                options.connect().await.map(Connection::Sqlite)
            }
            Self::Postgres { url, schema } => {
                let options: PgConnectOptions =
                    url.parse().context("the URL of the server is none")?;
                let options = options.options([("search_path", *schema)]);
                options.connect().await.map(Connection::Postgres)
            }
        };
        connected.context("cannot connect to the database")
    }
}

impl Connection {
    async fn rows<R: Record>(
        &mut self,
        query: &'static str,
        numbers: &[i64],
    ) -> Result<Vec<R>, sqlx::Error> {
        macro_rules! read {
            ($connection:expr) => {{
                let mut asked = sqlx::query_as(query);
                for number in numbers {
                    asked = asked.bind(*number);
                }
                asked.fetch_all($connection).await
            }};
        }
        match self {
            Self::Sqlite(connection) => read!(connection),
            Self::Postgres(connection) => read!(connection),
        }
    }
}
