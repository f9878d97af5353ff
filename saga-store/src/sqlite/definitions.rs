//! Definitions as data.

use async_trait::async_trait;
use rusqlite::{Connection, Result, params};
use saga_core::DefinitionSpec;
use saga_core::store::{Definitions, PublishError, StoreError};

use super::SqliteStore;
use super::failure::classify;
use super::statement::{all, execute, first};
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
        let work = move |db: &mut Connection| {
            let what = format_args!("reading table saga_definition, row {name} v{version}");
            let spec = stored(db, &name, version).map_err(|error| classify(what, &error))?;
            spec.map(|spec| row::definition(&name, version, &spec)).transpose()
        };
        self.reader.read(work).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        let name = name.to_owned();
        let work = move |db: &mut Connection| {
            let versions = all::<(u32,)>(db, include_str!("versions.sql"), [&name]);
            let what = format_args!("reading table saga_definition, versions of {name}");
            let versions = versions.map_err(|error| classify(what, &error))?;
            Ok(versions.into_iter().map(|(version,)| version).collect())
        };
        self.reader.read(work).await
    }

    async fn newest(&self, name: &str) -> Result<Option<DefinitionSpec>, StoreError> {
        let name = name.to_owned();
        let work = move |db: &mut Connection| {
            let newest = first::<(u32, String)>(db, include_str!("newest.sql"), [&name]);
            let what = format_args!("reading table saga_definition, newest of {name}");
            let newest = newest.map_err(|error| classify(what, &error))?;
            newest.map(|(version, spec)| row::definition(&name, version, &spec)).transpose()
        };
        self.reader.read(work).await
    }
}

struct Publish(DefinitionSpec);

impl Change for Publish {
    /// The one on record, when it has another structure.
    type Outcome = Option<String>;

    fn run(&self, db: &Connection) -> Result<Option<String>> {
        let Self(spec) = self;
        let digest = spec.digest();
        let params = params![spec.name, spec.version, digest.as_bytes(), json(spec)];
        match execute(db, include_str!("publish.sql"), params)? {
            1 => Ok(None),
            _ => stored(db, &spec.name, spec.version),
        }
    }
}

fn stored(db: &Connection, name: &str, version: u32) -> Result<Option<String>> {
    let spec = first(db, include_str!("definition.sql"), params![name, version])?;
    Ok(spec.map(|(spec,)| spec))
}
