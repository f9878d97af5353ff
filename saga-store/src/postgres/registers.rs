//! Registers.

use async_trait::async_trait;
use saga_core::Bucket;
use saga_core::store::{Register, Registers, StoreError};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{after_prefix, integer};

#[async_trait]
impl Registers for PostgresStore {
    async fn register(&self, name: &str) -> Result<Option<Register>, StoreError> {
        self.lanes.run(One(self.place(name))).await
    }

    async fn registers(&self, prefix: &str) -> Result<Vec<(String, Register)>, StoreError> {
        self.lanes.run(All { from: prefix.to_owned(), to: after_prefix(prefix) }).await
    }

    async fn set_register(
        &self,
        name: &str,
        expected: u64,
        value: &str,
    ) -> Result<bool, StoreError> {
        let set = Set { place: self.place(name), expected, value: value.to_owned() };
        self.lanes.run(set).await
    }

    async fn remove_register(&self, name: &str) -> Result<(), StoreError> {
        self.lanes.run(Remove(self.place(name))).await
    }
}

impl PostgresStore {
    fn place(&self, name: &str) -> Place {
        Place { bucket: Bucket::of(name, self.buckets).number(), name: name.to_owned() }
    }
}

/// Where a register is.
struct Place {
    bucket: i32,
    name: String,
}

/// A version as the driver reads it; none is negative.
fn version(number: i64) -> u64 {
    number.unsigned_abs()
}

struct One(Place);

#[async_trait]
impl Work for One {
    type Outcome = Option<Register>;

    fn what(&self) -> String {
        format!("reading register {}", self.0.name)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Option<Register>, Error> {
        let found: Option<(i64, String)> = sqlx::query_as(include_str!("register.sql"))
            .bind(self.0.bucket)
            .bind(&self.0.name)
            .fetch_optional(db)
            .await?;
        Ok(found.map(|(number, value)| Register { version: version(number), value }))
    }
}

struct All {
    from: String,
    to: String,
}

#[async_trait]
impl Work for All {
    type Outcome = Vec<(String, Register)>;

    fn what(&self) -> String {
        format!("reading the registers {}..", self.from)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Vec<(String, Register)>, Error> {
        let found: Vec<(String, i64, String)> = sqlx::query_as(include_str!("registers.sql"))
            .bind(&self.from)
            .bind(&self.to)
            .fetch_all(db)
            .await?;
        let register = |(name, number, value)| (name, Register { version: version(number), value });
        let mut registers: Vec<_> = found.into_iter().map(register).collect();
        registers.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(registers)
    }
}

struct Set {
    place: Place,
    expected: u64,
    value: String,
}

#[async_trait]
impl Work for Set {
    type Outcome = bool;

    fn what(&self) -> String {
        format!("setting register {}", self.place.name)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<bool, Error> {
        let statement = match self.expected {
            0 => sqlx::query(include_str!("register_insert.sql"))
                .bind(self.place.bucket)
                .bind(&self.place.name),
            _ => sqlx::query(include_str!("register_update.sql"))
                .bind(self.place.bucket)
                .bind(&self.place.name)
                .bind(integer(self.expected)),
        };
        Ok(statement.bind(&self.value).execute(db).await?.rows_affected() == 1)
    }
}

struct Remove(Place);

#[async_trait]
impl Work for Remove {
    type Outcome = ();

    fn what(&self) -> String {
        format!("removing register {}", self.0.name)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<(), Error> {
        let statement = sqlx::query(include_str!("register_remove.sql"));
        statement.bind(self.0.bucket).bind(&self.0.name).execute(db).await.map(drop)
    }
}
