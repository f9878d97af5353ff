//! The processes of the demo: four services, the order service, and one worker at a time.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::build::Programs;
use super::options::Options;
use super::process::Process;

/// The services whose steps can be refused and undone, in the order of the saga.
pub(crate) const PARTICIPANTS: [&str; 4] = ["inventory", "coupons", "points", "payments"];
/// The service that takes the orders.
const ORDERS: &str = "orders";
/// The program that drives the sagas.
const WORKER: &str = "order-worker";

/// How long the processes may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(3);

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Fleet {
    programs: Programs,
    folder: PathBuf,
    faults: &'static str,
    seed: u64,
    services: Vec<Service>,
    worker: Option<Process>,
    workers_started: u32,
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
    pub(crate) fn new(programs: Programs, folder: PathBuf, options: &Options) -> Self {
        Self {
            programs,
            folder,
            faults: options.faults.word(),
            seed: options.seed,
            services: Vec::new(),
            worker: None,
            workers_started: 0,
        }
    }

    /// Starts every service, then the worker.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        for name in PARTICIPANTS {
            let misbehaviour = [
                "--faults".into(),
                self.faults.into(),
                "--seed".into(),
                self.seed.to_string().into(),
            ];
            self.start_service(name, misbehaviour.into()).await?;
        }
        let saga_database = ["--saga-database".into(), self.folder.join("sagas.db").into()];
        self.start_service(ORDERS, saga_database.into()).await?;
        self.start_worker().await
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) async fn start_worker(&mut self) -> anyhow::Result<()> {
        self.workers_started += 1;
        let name = format!("worker-{}", self.workers_started);
        let mut arguments: Vec<OsString> =
            vec!["--saga-database".into(), self.folder.join("sagas.db").into()];
        for service in &self.services {
            arguments.push(format!("--{}", service.name).into());
            arguments.push(service.url.clone().into());
        }
        arguments.push("--exit-with-stdin".into());
        let program = self.programs.path(WORKER)?;
        let (process, first) = Process::start(&name, program, &arguments, &self.folder).await?;
        if first.trim() != "worker ready" {
            bail!("{name} should have said `worker ready` but said `{first}`{}", process.tail());
        }
        self.worker = Some(process);
        Ok(())
    }

    /// Kills the worker with SIGKILL and tells its process id.
    ///
    /// # Errors
    /// When there is none or it cannot be killed.
    pub(crate) async fn kill_worker(&mut self) -> anyhow::Result<u32> {
        let worker = self.worker.take().context("there is no worker to kill")?;
        let pid = worker.pid();
        worker.kill().await?;
        Ok(pid)
    }

    /// Fails when a process has ended that should run.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        let services = self.services.iter_mut().map(|service| &mut service.process);
        services.chain(&mut self.worker).try_for_each(Process::check_running)
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

    /// The last lines of the logs in which a reason may stand: the order service's and the worker's.
    pub(crate) fn tails(&self) -> String {
        let orders = self.services.iter().filter(|service| service.name == ORDERS);
        let processes = orders.map(|service| &service.process).chain(&self.worker);
        processes.map(Process::tail).collect()
    }

    /// Ends every process: asks first, kills those that do not follow.
    pub(crate) async fn stop(&mut self) {
        let services = std::mem::take(&mut self.services);
        let mut processes: Vec<Process> =
            self.worker.take().into_iter().chain(services.into_iter().map(|s| s.process)).collect();
        processes.iter_mut().for_each(Process::ask_to_end);
        let ending = processes.into_iter().map(|process| tokio::spawn(process.ended(GRACE)));
        for ended in ending.collect::<Vec<_>>() {
            ended.await.ok();
        }
    }

    async fn start_service(
        &mut self,
        name: &'static str,
        more: Vec<OsString>,
    ) -> anyhow::Result<()> {
        let mut arguments: Vec<OsString> = vec!["--listen".into(), "127.0.0.1:0".into()];
        arguments.extend(["--database".into(), self.folder.join(format!("{name}.db")).into()]);
        arguments.extend(more);
        arguments.push("--exit-with-stdin".into());
        let program = self.programs.path(name)?;
        let (process, first) = Process::start(name, program, &arguments, &self.folder).await?;
        let Some(url) = first.trim().strip_prefix("listening on ") else {
            bail!("{name} should have said `listening on ..` but said `{first}`{}", process.tail());
        };
        self.services.push(Service { name, url: url.to_owned(), process });
        Ok(())
    }
}
