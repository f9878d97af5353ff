//! Definitions as data.

use async_trait::async_trait;
use saga_core::DefinitionSpec;
use saga_core::store::{Definitions, PublishError, StoreError};
use sqlx::{Error, SqliteConnection};

use super::SqliteStore;
use super::failure::classify;
use super::writer::Change;
use crate::row::{self, json};

#[async_trait]
impl Definitions for SqliteStore {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        let Some(stored) = self.writer.write(Publish(spec.clone())).await? else { return Ok(()) };
        Err(PublishError::Changed {
            definition: spec.reference(),
            stored: Box::new(row::definition(&spec.name, spec.version, &stored)?),
            offered: Box::new(spec.clone()),
        })
    }

    async fn definition(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Option<DefinitionSpec>, StoreError> {
        let name = name.to_owned();
        let work = move |mut db: sqlx::pool::PoolConnection<sqlx::Sqlite>| async move {
            let spec = stored(&mut db, &name, version).await;
            let what = format_args!("reading table saga_definition, row {name} v{version}");
            let spec = spec.map_err(|error| classify(what, &error))?;
            spec.map(|spec| row::definition(&name, version, &spec)).transpose()
        };
        self.reader.read(work).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        let name = name.to_owned();
        let work = move |mut db: sqlx::pool::PoolConnection<sqlx::Sqlite>| async move {
            let newest = sqlx::query_as::<_, (u32, String)>(include_str!("newest.sql"));
            let newest = newest.bind(&name).fetch_optional(&mut *db).await;
            let what = format_args!("reading table saga_definition, newest of {name}");
            let newest = newest.map_err(|error| classify(what, &error))?;
            newest.map(|(version, spec)| row::definition(&name, version, &spec)).transpose()
        };
        self.reader.read(work).await
    }
}

struct Publish(DefinitionSpec);

#[async_trait]
impl Change for Publish {
    /// The one on record, when it has another structure.
    type Outcome = Option<String>;

    async fn run(&self, db: &mut SqliteConnection) -> Result<Option<String>, Error> {
        let Self(spec) = self;
        let published = sqlx::query(include_str!("publish.sql"))
            .bind(&spec.name)
            .bind(spec.version)
            .bind(&spec.digest().as_bytes()[..])
            .bind(json(spec))
            .execute(&mut *db)
            .await?;
        if published.rows_affected() == 1 {
            return Ok(None);
        }
        stored(db, &spec.name, spec.version).await
    }
}

async fn stored(
    db: &mut SqliteConnection,
    name: &str,
    version: u32,
) -> Result<Option<String>, Error> {
    let spec = sqlx::query_scalar(include_str!("definition.sql")).bind(name).bind(version);
    spec.fetch_optional(db).await
}
