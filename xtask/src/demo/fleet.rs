//! The processes of the demo: four services, the order service, and the workers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::bounded;
use super::build::Programs;
use super::databases::Databases;
use super::options::Options;
use super::process::{Launch, Process};
use super::rng::Rng;
use super::server::Source;

/// The services whose steps can be refused and undone, in the order of the saga.
pub(crate) const PARTICIPANTS: [&str; 4] = ["inventory", "coupons", "points", "payments"];
/// The service that takes the orders.
const ORDERS: &str = "orders";
/// The program that drives the sagas.
const WORKER: &str = "order-worker";

/// How long the processes may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(4);
/// How many workers are started at the same time.
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
    workers: Vec<Process>,
    workers_started: u32,
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
            workers: Vec::new(),
            workers_started: 0,
            rng: Rng::new(options.seed),
        }
    }

    /// Prepares the databases, then starts every service, then the workers.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let source = self.source.take();
        let prepared = Databases::prepare(source, &self.programs, &self.folder, &self.options);
        let databases = self.databases.insert(prepared.await?);
        let sagas = ["--saga-database".into(), databases.of_sagas()];
        for name in PARTICIPANTS {
            let misbehaviour = [
                "--faults".into(),
                self.options.faults.word().into(),
                "--seed".into(),
                self.options.seed.to_string().into(),
            ];
            self.start_service(name, misbehaviour.into()).await?;
        }
        self.start_service(ORDERS, sagas.into()).await?;
        self.start_workers(self.options.workers).await
    }

    /// Kills one of the workers with SIGKILL, starts another one in its place and tells the process
    /// id of the dead one.
    ///
    /// # Errors
    /// When there is none, it cannot be killed or its replacement does not become ready.
    pub(crate) async fn replace_a_worker(&mut self) -> anyhow::Result<u32> {
        anyhow::ensure!(!self.workers.is_empty(), "there is no worker to kill");
        let victim = self.rng.below(self.workers.len() as u64) as usize;
        let worker = self.workers.swap_remove(victim);
        let pid = worker.pid();
        worker.kill().await?;
        self.start_workers(1).await?;
        Ok(pid)
    }

    /// Fails when a process has ended that should run.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        self.databases.as_mut().map_or(Ok(()), Databases::check_running)?;
        let services = self.services.iter_mut().map(|service| &mut service.process);
        services.chain(&mut self.workers).try_for_each(Process::check_running)
    }

    /// Whether anything was started whose logs may be worth a look.
    pub(crate) fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// Where the order service listens.
    pub(crate) fn orders_url(&self) -> &str {
        self.url(ORDERS)
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
        let mut processes: Vec<Process> = self.workers.drain(..).chain(services).collect();
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

    async fn start_workers(&mut self, number: u32) -> anyhow::Result<()> {
        let databases = self.databases.as_ref().context("the databases come first")?;
        let mut arguments: Vec<OsString> = vec!["--saga-database".into(), databases.of_sagas()];
        for service in &self.services {
            arguments.push(format!("--{}", service.name).into());
            arguments.push(service.url.clone().into());
        }
        arguments.push("--exit-with-stdin".into());
        let numbers = (1..=number).map(|nth| self.workers_started + nth).collect();
        self.workers_started += number;
        let environment = databases.environment();
        let program = self.programs.path(WORKER)?.to_owned();
        let started = bounded::each(numbers, STARTS_AT_ONCE, |nth: u32| {
            let (program, arguments, folder) =
                (program.clone(), arguments.clone(), self.folder.clone());
            let (name, environment) = (format!("worker-{nth}"), environment.clone());
            async move {
                let launch =
                    Launch { name: &name, program: &program, arguments: &arguments, environment };
                let (process, first) = Process::start(launch, &folder).await?;
                if first.trim() != "worker ready" {
                    let tail = process.tail();
                    bail!("{name} should have said `worker ready` but said `{first}`{tail}");
                }
                Ok(process)
            }
        });
        let started = started.await?;
        self.workers.extend(started);
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
        };
        let (process, first) = Process::start(launch, &self.folder).await?;
        let Some(url) = first.trim().strip_prefix("listening on ") else {
            bail!("{name} should have said `listening on ..` but said `{first}`{}", process.tail());
        };
        self.services.push(Service { name, url: url.to_owned(), process });
        Ok(())
    }

    /// The last lines of the logs in which a reason may stand: the order service's and the workers'.
    pub(crate) fn tails(&self) -> String {
        let orders = self.services.iter().filter(|service| service.name == ORDERS);
        let processes = orders.map(|service| &service.process).chain(&self.workers);
        processes.take(TAILS_MAX).map(Process::tail).collect()
    }
}

/// Of how many processes the last lines are shown; the folder has them all.
const TAILS_MAX: usize = 3;
