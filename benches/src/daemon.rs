//! `saga-worker` as a process, with a database and a definition of its own.

use std::ffi::OsString;
use std::path::Path;

use tempfile::TempDir;

use crate::database::Database;
use crate::process::Process;

/// A daemon, and the folders that are its own.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) url: String,
    pub(crate) store: String,
    pub(crate) process: Process,
    pub(crate) database: Database,
    /// Removed when dropped, and so after the process.
    _folder: TempDir,
}

impl Daemon {
    /// Starts it with room for so many sagas at once, and a few more.
    pub(crate) async fn start(
        programs: &Path,
        database: Database,
        concurrency: u32,
        definition: &str,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = database.prepare().await?;
        let definitions = folder.path().join("definitions");
        std::fs::create_dir(&definitions)?;
        std::fs::write(definitions.join("saga.yaml"), definition)?;
        let (concurrency, connections) = (concurrency + 16, concurrency + 256);
        let arguments: Vec<OsString> = vec![
            "serve".into(),
            "--listen".into(),
            "127.0.0.1:0".into(),
            "--store".into(),
            store.clone().into(),
            "--definitions".into(),
            definitions.into(),
            "--worker-concurrency-max".into(),
            concurrency.to_string().into(),
            "--http-connections-max".into(),
            connections.to_string().into(),
            // A bench that is killed leaves no daemon behind.
            "--exit-with-stdin".into(),
            "--log-filter".into(),
            "warn".into(),
        ];
        let program = programs.join("saga-worker");
        let mut process = Process::start("saga-worker", &program, &arguments, folder.path())?;
        let url = process.says("API ").await?;
        Ok(Self { url, store, process, database, _folder: folder })
    }
}
