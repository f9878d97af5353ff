//! A daemon as a process, and the services that it calls: those of the example, or participants
//! inside this process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use saga_examples::switches::Switches;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::daemon::Daemon;
use crate::database::Database;
use crate::load::StoreKind;
use crate::open::order::participants as names;
use crate::open::participants::{self, Participants};
use crate::open::policies::Policies;
use crate::process::{self, Process};

use super::http;

/// What a daemon is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) store: StoreKind,
    pub(crate) concurrency: u32,
    pub(crate) policies: &'a Policies,
}

impl Settings<'_> {
    async fn daemon(
        self,
        programs: &Path,
        database: Database,
        url: impl Fn(&str) -> String,
    ) -> anyhow::Result<Daemon> {
        Daemon::start(programs, database, self.concurrency, &self.policies.yaml(url)).await
    }
}

/// A daemon whose participants are in this process and keep nothing.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) daemon: Daemon,
    pub(crate) participants: Arc<Participants>,
    _serving: DropGuard,
}

impl Alone {
    pub(crate) async fn start(settings: Settings<'_>) -> anyhow::Result<Self> {
        let programs = process::programs()?;
        let stop = CancellationToken::new();
        let participants = Arc::new(Participants::default());
        let url = participants::serve(participants.clone(), stop.clone()).await?;
        let database = Database::fresh(settings.store)?;
        let daemon = settings.daemon(&programs, database, |_| url.clone()).await?;
        Ok(Self { daemon, participants, _serving: stop.drop_guard() })
    }
}

/// The order system of the example: a daemon and five services, each a process with its own books.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) daemon: Daemon,
    /// The URL of each service.
    pub(crate) urls: BTreeMap<&'static str, String>,
    /// For what is said to them beside the load.
    http: reqwest::Client,
    _services: Vec<Process>,
    /// Removed when dropped, and so after the processes.
    _folder: TempDir,
}

impl Shop {
    pub(crate) async fn start(settings: Settings<'_>) -> anyhow::Result<Self> {
        let programs = process::programs()?;
        let (database, folder) = (Database::fresh(settings.store)?, tempfile::tempdir()?);
        let store = database.prepare().await?;
        let (mut urls, mut services) = (BTreeMap::new(), Vec::new());
        for name in names() {
            let books: OsString = match settings.store {
                // One server for all, with a schema for each service.
                StoreKind::Postgres => store.clone().into(),
                StoreKind::Sqlite | StoreKind::Memory => {
                    folder.path().join(format!("{name}.db")).into()
                }
            };
            let mut arguments: Vec<OsString> =
                vec!["--listen".into(), "127.0.0.1:0".into(), "--database".into(), books];
            if name == "orders" {
                arguments.extend(["--saga-database".into(), store.clone().into()]);
            }
            arguments.push("--exit-with-stdin".into());
            let mut process =
                Process::start(name, &programs.join(name), &arguments, folder.path())?;
            urls.insert(name, process.says("listening on ").await?);
            services.push(process);
        }
        let url = |name: &str| urls.get(name).cloned().unwrap_or_default();
        let daemon = settings.daemon(&programs, database, url).await;
        let (daemon, http) = (daemon.context("the daemon")?, http::client()?);
        Ok(Self { daemon, urls, http, _services: services, _folder: folder })
    }

    /// Tells a service how to misbehave.
    pub(crate) fn tell(
        &self,
        name: &str,
        switches: &Switches,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
        let url = self.urls.get(name).context("every service has a URL")?;
        let request = self.http.put(format!("{url}/switches")).body(serde_json::to_vec(switches)?);
        let name = name.to_owned();
        Ok(async move {
            let told = request.send().await.and_then(reqwest::Response::error_for_status);
            told.with_context(|| format!("{name} does not take its switches"))?;
            Ok(())
        })
    }
}
