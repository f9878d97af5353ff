//! Definitions as data.

use async_trait::async_trait;
use saga_core::DefinitionSpec;
use saga_core::store::{Definitions, PublishError, StoreError};
use sqlx::Error;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::lane::Work;
use crate::row::{self, json};

#[async_trait]
impl Definitions for PostgresStore {
    async fn publish(&self, spec: &DefinitionSpec) -> Result<(), PublishError> {
        let Some(stored) = self.lanes.run(Publish(spec.clone())).await? else { return Ok(()) };
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
        let spec = self.lanes.run(Stored { name: name.to_owned(), version }).await?;
        spec.map(|spec| row::definition(name, version, &spec)).transpose()
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        let versions = self.lanes.run(Versions { name: name.to_owned() }).await?;
        Ok(versions.into_iter().map(|version| u32::try_from(version).unwrap_or(u32::MAX)).collect())
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        let newest = self.lanes.run(Newest { name: name.to_owned() }).await?;
        let Some((version, spec)) = newest else { return Ok(None) };
        let version = u32::try_from(version).unwrap_or(u32::MAX);
        row::definition(name, version, &spec).map(Some)
    }
}

struct Publish(DefinitionSpec);

#[async_trait]
impl Work for Publish {
    /// The one on record, when it has another structure.
    type Outcome = Option<String>;

    fn what(&self) -> String {
        format!("publishing definition {}", self.0.reference())
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Option<String>, Error> {
        let Self(spec) = self;
        let published = sqlx::query(include_str!("publish.sql"))
            .bind(&spec.name)
            .bind(i64::from(spec.version))
            .bind(&spec.digest().as_bytes()[..])
            .bind(json(spec))
            .execute(&mut *db)
            .await?;
        if published.rows_affected() == 1 {
            return Ok(None);
        }
        Stored { name: spec.name.clone(), version: spec.version }.run(db).await
    }
}

struct Stored {
    name: String,
    version: u32,
}

#[async_trait]
impl Work for Stored {
    type Outcome = Option<String>;

    fn what(&self) -> String {
        format!("reading table saga_definition, row {} v{}", self.name, self.version)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Option<String>, Error> {
        sqlx::query_scalar(include_str!("definition.sql"))
            .bind(&self.name)
            .bind(i64::from(self.version))
            .fetch_optional(db)
            .await
    }
}

struct Versions {
    name: String,
}

#[async_trait]
impl Work for Versions {
    type Outcome = Vec<i64>;

    fn what(&self) -> String {
        format!("reading table saga_definition, versions of {}", self.name)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_scalar(include_str!("versions.sql")).bind(&self.name).fetch_all(db).await
    }
}

struct Newest {
    name: String,
}

#[async_trait]
impl Work for Newest {
    type Outcome = Option<(i64, String)>;

    fn what(&self) -> String {
        format!("reading table saga_definition, newest of {}", self.name)
    }

    async fn run(&self, db: &mut PgConnection) -> Result<Self::Outcome, Error> {
        sqlx::query_as(include_str!("newest.sql")).bind(&self.name).fetch_optional(db).await
    }
}
