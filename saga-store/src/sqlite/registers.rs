//! Registers.

use async_trait::async_trait;
use rusqlite::{Connection, Result, params};
use saga_core::store::{Register, Registers, StoreError};

use super::BUCKET;
use super::SqliteStore;
use super::failure::classify;
use super::statement::{all, execute, first};
use super::writer::Change;
use crate::row::{after_prefix, integer};

#[async_trait]
impl Registers for SqliteStore {
    async fn register(&self, name: &str) -> std::result::Result<Option<Register>, StoreError> {
        let name = name.to_owned();
        let work = move |db: &mut Connection| {
            let found = first::<(i64, String)>(db, include_str!("register.sql"), (BUCKET, &name));
            let what = format_args!("reading table saga_register, row {name}");
            let found = found.map_err(|error| classify(what, &error))?;
            Ok(found.map(|(version, value)| at(version, value)))
        };
        self.reader.read(work).await
    }

    async fn registers(
        &self,
        prefix: &str,
    ) -> std::result::Result<Vec<(String, Register)>, StoreError> {
        let range = (BUCKET, prefix.to_owned(), after_prefix(prefix));
        let work = move |db: &mut Connection| {
            let found = all::<(String, i64, String)>(db, include_str!("registers.sql"), range);
            let found = found.map_err(|error| classify("reading table saga_register", &error))?;
            let register = |(name, version, value)| (name, at(version, value));
            let mut registers: Vec<_> = found.into_iter().map(register).collect();
            registers.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            Ok(registers)
        };
        self.reader.read(work).await
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> std::result::Result<bool, StoreError> {
        let set = Set { name: name.to_owned(), expected, value: value.to_owned() };
        self.writer.write(set).await
    }

    async fn remove_register(&self, name: &str) -> std::result::Result<(), StoreError> {
        self.writer.write(Remove(name.to_owned())).await
    }
}

/// A register as the driver reads it; no version is negative.
fn at(version: i64, value: String) -> Register {
    Register { version: version.unsigned_abs(), value }
}

struct Set {
    name: String,
    expected: u64,
    value: String,
}

impl Change for Set {
    type Outcome = bool;

    fn run(&self, db: &Connection) -> Result<bool> {
        let Self { name, expected, value } = self;
        let changed = match expected {
            0 => execute(db, include_str!("register_insert.sql"), params![BUCKET, name, value])?,
            _ => {
                let row = params![BUCKET, name, integer(*expected), value];
                execute(db, include_str!("register_update.sql"), row)?
            }
        };
        Ok(changed == 1)
    }
}

struct Remove(String);

impl Change for Remove {
    type Outcome = ();

    fn run(&self, db: &Connection) -> Result<()> {
        execute(db, include_str!("register_remove.sql"), params![BUCKET, self.0]).map(drop)
    }
}
