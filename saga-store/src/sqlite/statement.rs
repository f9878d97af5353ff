//! Running statements: prepared once per connection, with their rows as tuples of columns.

use rusqlite::{Connection, OptionalExtension as _, Params, Result, Row};

/// Runs a statement that changes something, and tells how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

/// All rows that a statement gives.
pub(super) fn all<T: Columns>(db: &Connection, sql: &str, params: impl Params) -> Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, |row| T::of(row))?.collect()
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
