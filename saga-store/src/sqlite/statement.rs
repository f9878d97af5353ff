//! Running statements: prepared once per connection, with their rows as tuples of columns.

use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row};
use saga_core::store::StoreError;

use super::failure::classify;
use crate::row::hex;

/// Runs a statement that changes something, and tells how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

/// All rows that a statement gives.
pub(super) fn all<T: Columns>(db: &Connection, sql: &str, params: impl Params) -> Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, |row| T::of(row))?.collect()
}

/// All rows that a statement gives, each decoded on its own: SQLite lets a text hold any bytes,
/// and one such row must not keep anybody from the others. `what` begins the message about it,
/// which names the id in its first column.
pub(super) fn each<T: Columns>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    what: &str,
) -> Result<Vec<std::result::Result<T, StoreError>>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut each = Vec::new();
    while let Some(row) = rows.next()? {
        each.push(T::of(row).map_err(|error| {
            let id: Vec<u8> = row.get(0).unwrap_or_default();
            classify(format_args!("{what}, row {}", hex(&id)), &error)
        }));
    }
    Ok(each)
}

/// The one row that a statement gives.
pub(super) fn one<T: Columns>(db: &Connection, sql: &str, params: impl Params) -> Result<T> {
    db.prepare_cached(sql)?.query_row(params, |row| T::of(row))
}

/// The first row that a statement gives, if any.
pub(super) fn first<T: Columns>(
    db: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<T>> {
    one(db, sql, params).optional()
}

/// A row of a result, as a tuple with a member for each column.
pub(super) trait Columns: Sized {
    fn of(row: &Row<'_>) -> Result<Self>;
}

impl<T> Columns for T
where
    T: for<'a> TryFrom<&'a Row<'a>, Error = rusqlite::Error>,
{
    fn of(row: &Row<'_>) -> Result<Self> {
        Self::try_from(row)
    }
}
