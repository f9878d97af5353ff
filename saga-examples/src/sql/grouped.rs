//! SQLite through rusqlite, as the barrier that shares commits wants it: nothing here ever waits.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql};

use super::{Record, Sql, SqlError, Value};

/// Statements of rusqlite on the connection that the barrier owns.
#[derive(Debug)]
pub struct Grouped;

impl Sql for Grouped {
    type Tx = Connection;

    async fn execute(
        tx: &mut Connection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        let mut statement = tx.prepare_cached(statement)?;
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    async fn fetch<R: Record>(
        tx: &mut Connection,
        statement: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<R>, SqlError> {
        let mut statement = tx.prepare_cached(statement)?;
        bind(&mut statement, values)?;
        let (mut rows, mut records) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next()? {
            records.push(R::try_from(row)?);
        }
        Ok(records)
    }
}

/// Gives the values to the `$1`, `$2`.. of a statement, which SQLite numbers as they come.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    for place in 1..=statement.parameter_count() {
        let name = statement.parameter_name(place).unwrap_or_default();
        let nth = name.get(1..).and_then(|number| number.parse::<usize>().ok());
        let value = nth.and_then(|nth| values.get(nth.checked_sub(1)?));
        let missing = || rusqlite::Error::InvalidParameterName(name.to_owned());
        let value = *value.ok_or_else(missing)?;
        statement.raw_bind_parameter(place, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Number(number) => ValueRef::Integer(number),
        }))
    }
}
