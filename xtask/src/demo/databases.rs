//! Where the processes of a run find their databases: files in the folder of the run, or one new
//! database on a PostgreSQL server, with a schema for each service.
//!
//! One database and not six: it is all that a run asks of somebody's server, it is dropped in one
//! statement, and the services' schemas keep their tables as far apart as the demo needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::build::Programs;
use super::options::Options;
use super::process::{Launch, Process};
use super::server::{Server, Source};

/// The program that creates a database and drops it at the end of its standard input, so that even
/// a demo that was killed leaves none behind.
const FRESH_DATABASE: &str = "fresh-database";
/// How long dropping the database may take.
const DROP_GRACE: Duration = Duration::from_secs(30);

/// Connections that one daemon may have: every lane of its store.
const PER_WORKER: u32 = 9;
/// Connections of the services.
const OF_SERVICES: u32 = 5 * 6;

/// The databases of a run.
#[derive(Debug)]
pub(crate) enum Databases {
    /// Files in this folder.
    Files(PathBuf),
    /// One database on a server.
    Server(Box<OnServer>),
}

/// A database on a server.
#[derive(Debug)]
pub(crate) struct OnServer {
    server: Server,
    database: String,
    /// Drops the database at the end of its standard input.
    holder: Process,
}

impl Databases {
    /// Files in the folder, or a new database on the server that comes from `source`.
    ///
    /// # Errors
    /// When the server cannot be started or used.
    pub(crate) async fn prepare(
        source: Option<Source>,
        programs: &Programs,
        folder: &Path,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let Some(source) = source else { return Ok(Self::Files(folder.to_owned())) };
        let connections = OF_SERVICES + PER_WORKER * options.workers;
        let server = Server::start(source, connections).await?;
        let mut arguments = vec!["--server".into(), server.url(None).as_str().into()];
        arguments.extend(["--connections".into(), connections.to_string().into()]);
        let launch = Launch {
            name: FRESH_DATABASE,
            program: programs.path(FRESH_DATABASE)?,
            arguments: &arguments,
            environment: server.environment(),
            ready: "database ",
        };
        let started = Process::start(launch, folder).await;
        let (holder, database) = started.with_context(|| {
            let url = server.url(None);
            format!(
                "no database for the demo on {url}; check that the URL is right, the server runs \
                 and lets its user create databases"
            )
        })?;
        Ok(Self::Server(Box::new(OnServer { server, database, holder })))
    }

    /// The address of a service's database, as the services' flags take it.
    pub(crate) fn of_service(&self, name: &str) -> OsString {
        match self {
            Self::Files(folder) => folder.join(format!("{name}.db")).into(),
            Self::Server(on) => on.server.url(Some(&on.database)).as_str().into(),
        }
    }

    /// The URL of the store of the sagas.
    pub(crate) fn of_sagas(&self) -> OsString {
        match self {
            Self::Files(folder) => {
                let mut url = OsString::from("sqlite://");
                url.push(folder.join("sagas.db"));
                url
            }
            Self::Server(_) => self.of_service("sagas"),
        }
    }

    /// What a process needs in its environment to use them.
    pub(crate) fn environment(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Files(_) => None,
            Self::Server(on) => on.server.environment(),
        }
    }

    /// Fails when the run's own server, or the process that holds the database, has ended.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Server(on) => {
                on.server.check_running()?;
                on.holder.check_running()
            }
        }
    }

    /// Drops the database and ends a server of the run's own, unless they are to be kept; tells what
    /// is left. Files stay where they are.
    pub(crate) async fn end(self, keep: bool) -> Vec<String> {
        let Self::Server(on) = self else { return Vec::new() };
        let OnServer { server, database, mut holder } = *on;
        let mut left = Vec::new();
        if keep || server.is_own() {
            holder.say("keep\n").await;
        }
        if keep {
            let address = server.url(Some(&database));
            left.push(format!("the database is {address}"));
        }
        holder.ask_to_end();
        let complaint = holder.ended_well(DROP_GRACE).await.err();
        left.extend(complaint.map(|complaint| format!("{complaint:#}")));
        left.extend(server.end(keep).await);
        left
    }
}
