//! Deleting what ended long ago.

use std::time::Duration;

use rusqlite::{Connection, Result, params};
use saga_core::store::StoreError;

use super::failure::classify;
use super::statement::{all, execute};
use super::writer::Change;
use super::{BUCKET, SqliteStore};
use crate::row::{FORGOTTEN_ROWS_MAX, hex, json, micros};

impl SqliteStore {
    /// Looks without the lock on the file first: mostly there is nothing to delete.
    pub(super) async fn forget_ended(&self, age: Duration, limit: u32) -> Result<u32, StoreError> {
        let any = self.reader.read(move |db| {
            let found = Forget { age, limit: limit.min(1) }.forgettable(db);
            found.map_err(|error| classify("looking for sagas to forget", &error))
        });
        if any.await?.is_empty() {
            return Ok(0);
        }
        self.writer.write(Forget { age, limit }).await
    }
}

struct Forget {
    age: Duration,
    limit: u32,
}

impl Forget {
    /// The ids of what may leave, as hexadecimal text. Long logs leave in smaller numbers.
    fn forgettable(&self, db: &Connection) -> Result<Vec<String>> {
        let params = params![BUCKET, micros(self.age), self.limit];
        let ended: Vec<(Vec<u8>, i64)> = all(db, include_str!("forgettable.sql"), params)?;
        let mut rows = 0;
        let few = ended.into_iter().take_while(|(_, seq)| {
            let before = rows;
            rows += seq;
            before < FORGOTTEN_ROWS_MAX
        });
        Ok(few.map(|(id, _)| hex(&id)).collect())
    }
}

impl Change for Forget {
    type Outcome = u32;

    fn run(&self, db: &Connection) -> Result<u32> {
        let ids = json(&self.forgettable(db)?);
        execute(db, include_str!("forget_mark.sql"), params![BUCKET, ids])?;
        execute(db, include_str!("forget_log.sql"), params![BUCKET, ids])?;
        execute(db, include_str!("forget_commands.sql"), params![BUCKET, ids])?;
        let forgotten = execute(db, include_str!("forget.sql"), params![BUCKET, ids])?;
        Ok(u32::try_from(forgotten).unwrap_or(self.limit))
    }
}
