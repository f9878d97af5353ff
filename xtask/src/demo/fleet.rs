//! The processes of the demo: four services, the order service, and the daemons.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use super::bounded;
use super::build::Programs;
use super::daemon::{Daemon, Recipe};
use super::daemons::Addresses;
use super::databases::Databases;
use super::options::Options;
use super::process::{Launch, Process};
use super::rng::Rng;
use super::server::Source;

/// The services whose steps can be refused and undone, in the order of the saga.
pub(crate) const PARTICIPANTS: [&str; 4] = ["inventory", "coupons", "points", "payments"];
/// The service that confirms the orders.
const ORDERS: &str = "orders";

/// How long the processes may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(4);
/// How many daemons are started at the same time.
const STARTS_AT_ONCE: usize = 4;

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Fleet {
    programs: Programs,
    folder: PathBuf,
    options: Options,
    source: Option<Source>,
    databases: Option<Databases>,
    services: Vec<Service>,
    daemons: Vec<Daemon>,
    daemons_started: u32,
    addresses: Addresses,
    rng: Rng,
}

/// A service and where it listens.
#[derive(Debug)]
struct Service {
    name: &'static str,
    url: String,
    process: Process,
}

impl Fleet {
    /// Nothing runs yet.
    pub(crate) fn new(
        programs: Programs,
        folder: PathBuf,
        source: Option<Source>,
        options: &Options,
    ) -> Self {
        Self {
            programs,
            folder,
            options: options.clone(),
            source,
            databases: None,
            services: Vec::new(),
            daemons: Vec::new(),
            daemons_started: 0,
            addresses: Addresses::default(),
            rng: Rng::new(options.seed),
        }
    }

    /// Prepares the databases, then starts every service, then the daemons.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let source = self.source.take();
        let prepared = Databases::prepare(source, &self.programs, &self.folder, &self.options);
        self.databases = Some(prepared.await?);
        for name in PARTICIPANTS {
            let misbehaviour = [
                "--faults".into(),
                self.options.faults.word().into(),
                "--seed".into(),
                self.options.seed.to_string().into(),
            ];
            self.start_service(name, misbehaviour.into()).await?;
        }
        self.start_service(ORDERS, Vec::new()).await?;
        self.start_daemons((0..self.options.workers).collect()).await
    }

    /// Kills one of the daemons with SIGKILL, starts another one in its place and tells the process
    /// id of the dead one.
    ///
    /// # Errors
    /// When there is none, it cannot be killed or its replacement does not become ready.
    pub(crate) async fn replace_a_daemon(&mut self) -> anyhow::Result<u32> {
        anyhow::ensure!(!self.daemons.is_empty(), "there is no daemon to kill");
        let victim = self.rng.below(self.daemons.len() as u64) as usize;
        let Daemon { place, url, process } = self.daemons.swap_remove(victim);
        let pid = process.pid();
        self.addresses.remove(&url);
        process.kill().await?;
        self.start_daemons(vec![place]).await?;
        Ok(pid)
    }

    /// Where the daemons are, now and after one was replaced.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Each daemon in words: its name and where its API is.
    pub(crate) fn introductions(&self) -> Vec<String> {
        let line = |daemon: &Daemon| format!("  daemon {}  {}", daemon.place + 1, daemon.url);
        self.daemons.iter().map(line).collect()
    }

    /// Fails when a process has ended that should run.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        self.databases.as_mut().map_or(Ok(()), Databases::check_running)?;
        let services = self.services.iter_mut().map(|service| &mut service.process);
        let daemons = self.daemons.iter_mut().map(|daemon| &mut daemon.process);
        services.chain(daemons).try_for_each(Process::check_running)
    }

    /// Whether anything was started whose logs may be worth a look.
    pub(crate) fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// Every service that keeps books, and where it listens.
    pub(crate) fn bookkeepers(&self) -> Vec<(&'static str, String)> {
        self.services.iter().map(|service| (service.name, service.url.clone())).collect()
    }

    /// Where a participant listens.
    pub(crate) fn url(&self, name: &str) -> &str {
        let service = self.services.iter().find(|service| service.name == name);
        service.map_or("", |service| &service.url)
    }

    /// Ends every process: asks first, kills those that do not follow. Then the databases go, unless
    /// they are kept. Tells what is left.
    pub(crate) async fn stop(&mut self, keep: bool) -> Vec<String> {
        let services = std::mem::take(&mut self.services).into_iter().map(|s| s.process);
        let daemons = self.daemons.drain(..).map(|daemon| daemon.process);
        let mut processes: Vec<Process> = daemons.chain(services).collect();
        processes.iter_mut().for_each(Process::ask_to_end);
        let ending = processes.into_iter().map(|process| tokio::spawn(process.ended(GRACE)));
        for ended in ending.collect::<Vec<_>>() {
            ended.await.ok();
        }
        match self.databases.take() {
            Some(databases) => databases.end(keep).await,
            None => Vec::new(),
        }
    }

    async fn start_daemons(&mut self, places: Vec<u32>) -> anyhow::Result<()> {
        let databases = self.databases.as_ref().context("the databases come first")?;
        let (sagas, services) = (databases.of_sagas(), self.bookkeepers());
        let recipe = Recipe::new(&self.options, &self.programs, &self.folder, sagas, &services)?;
        let recipe = recipe.with_environment(databases.environment());
        let numbered: Vec<(u32, u32)> =
            places.into_iter().zip(self.daemons_started + 1..).collect();
        self.daemons_started += u32::try_from(numbered.len()).unwrap_or(u32::MAX);
        let started = bounded::each(numbered, STARTS_AT_ONCE, |(place, nth): (u32, u32)| {
            let recipe = recipe.clone();
            async move { recipe.start(place, &format!("daemon-{nth}")).await }
        });
        for daemon in started.await? {
            self.addresses.add(&daemon.url);
            self.daemons.push(daemon);
        }
        self.daemons.sort_by_key(|daemon| daemon.place);
        Ok(())
    }

    async fn start_service(
        &mut self,
        name: &'static str,
        more: Vec<OsString>,
    ) -> anyhow::Result<()> {
        let databases = self.databases.as_ref().context("the databases come first")?;
        let mut arguments: Vec<OsString> = vec!["--listen".into(), "127.0.0.1:0".into()];
        arguments.extend(["--database".into(), databases.of_service(name)]);
        arguments.extend(more);
        arguments.push("--exit-with-stdin".into());
        let launch = Launch {
            name,
            program: self.programs.path(name)?,
            arguments: &arguments,
            environment: databases.environment(),
            ready: "listening on ",
        };
        let (process, url) = Process::start(launch, &self.folder).await?;
        self.services.push(Service { name, url, process });
        Ok(())
    }

    /// The last lines of the logs in which a reason may stand: the daemons' and the order service's.
    pub(crate) fn tails(&self) -> String {
        let orders = self.services.iter().filter(|service| service.name == ORDERS);
        let daemons = self.daemons.iter().map(|daemon| &daemon.process);
        let processes = daemons.chain(orders.map(|service| &service.process));
        processes.take(TAILS_MAX).map(Process::tail).collect()
    }
}

/// Of how many processes the last lines are shown; the folder has them all.
const TAILS_MAX: usize = 3;
