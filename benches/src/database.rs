//! A database of its own for every run, so that no run meets what another left behind.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use throwaway_postgres::{Cluster, Settings, URL_VARIABLE};

use crate::load::StoreKind;

/// The database on a server made for a run.
const NAME: &str = "bench";

/// Where the sagas of one run go. Removed when dropped.
#[derive(Debug)]
pub(crate) enum Database {
    /// Nowhere.
    Memory,
    /// A file in a folder.
    Sqlite(TempDir),
    /// A server made for this run.
    Cluster(Cluster),
    /// A fresh database on a server that was given.
    Given { url: String },
}

impl Database {
    pub(crate) fn fresh(kind: StoreKind) -> anyhow::Result<Self> {
        match kind {
            StoreKind::Memory => Ok(Self::Memory),
            StoreKind::Sqlite => Ok(Self::Sqlite(tempfile::tempdir()?)),
            StoreKind::Postgres if std::env::var_os(URL_VARIABLE).is_some() => {
                Ok(Self::Given { url: throwaway_postgres::fresh_database()? })
            }
            StoreKind::Postgres => {
                let cluster = Cluster::start(&Settings::default())?;
                cluster.create_database(NAME)?;
                Ok(Self::Cluster(cluster))
            }
        }
    }

    /// The URL for `saga_store::connect`; nothing in memory has one.
    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::Memory => None,
            Self::Sqlite(folder) => Some(format!("sqlite://{}", file(folder).display())),
            Self::Cluster(cluster) => Some(cluster.url(NAME)),
            Self::Given { url } => Some(url.clone()),
        }
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(folder) => Some(file(folder)),
            Self::Memory | Self::Cluster(_) | Self::Given { .. } => None,
        }
    }

    /// The process id of a server made for this run.
    pub(crate) fn server(&self) -> Option<u32> {
        let Self::Cluster(cluster) = self else { return None };
        // Its first line is the id, as PostgreSQL documents it.
        let pid = std::fs::read_to_string(cluster.folder().join("data/postmaster.pid")).ok()?;
        pid.lines().next()?.parse().ok()
    }

    /// Lets the store itself make its schema, so that a bench without it finds the same tables.
    pub(crate) async fn prepare(&self) -> anyhow::Result<String> {
        let url = self
            .url()
            .context("sagas in memory have no database: use --store sqlite or --store postgres")?;
        let store = saga_store::connect(&url).await?;
        ensure!(store.counts().await?.is_empty(), "the database of a run already holds sagas");
        Ok(url)
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("saga.db")
}
