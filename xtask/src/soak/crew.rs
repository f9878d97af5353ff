//! The processes of the soak: participants, the order service and workers, each kept running by a
//! task that starts it again whenever it dies, and that carries out what is to be done to it.

mod kept;
mod worker;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::process::Command;

use super::archive::Archive;
use super::ground::Ground;
use super::options::Options;
use super::points::{Armoury, Passer, Point};
use super::tally::Tally;
use super::witness::{Knows, Witness};
use crate::demo::build::Programs;
use crate::demo::process::Process;

pub(super) use kept::{Deed, Kept, Wish};

/// The services that sagas call, in the order of the steps; the last one also starts them.
pub(super) const SERVICES: [&str; 5] = ["inventory", "coupons", "points", "payments", "orders"];
/// The program that drives the sagas.
const WORKER: &str = "order-worker";
/// How long a drained worker may wait for its calls in flight.
const DRAIN: Duration = Duration::from_secs(2);
/// Every worker holds up some appends and answers until others may have the saga, and stands still at
/// some appends.
const LATE: &str = "append.late=0.05,append.frozen=0.008,answer.late=0.3";
/// The share of the orders, in percent, that start on the newer version of their saga.
const ROLLOUT: &str = "50";
/// How often in a row a process may fail to start.
const FAILED_STARTS_MAX: u32 = 100;
/// The pause before a process that could not be started is started again.
const PAUSE: Duration = Duration::from_millis(100);

/// What all processes of a soak have in common.
#[derive(Debug)]
pub(super) struct Crew {
    pub options: Options,
    pub ground: Ground,
    pub armoury: Armoury,
    pub tally: Tally,
    pub witness: Witness,
    pub archive: Archive,
    programs: PathBuf,
    folder: PathBuf,
    started: AtomicU64,
}

impl Crew {
    /// A crew whose programs are kept from being replaced by another build.
    ///
    /// # Errors
    /// When a program cannot be linked or copied into the folder.
    pub(super) fn new(
        options: &Options,
        ground: Ground,
        programs: &Programs,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let kept = folder.join("programs");
        std::fs::create_dir(&kept).context("cannot make a folder for the programs")?;
        for name in SERVICES.into_iter().chain([WORKER]) {
            let (from, to) = (programs.path(name)?, kept.join(name));
            if std::fs::hard_link(from, &to).is_err() {
                std::fs::copy(from, &to).with_context(|| format!("cannot copy {name}"))?;
            }
        }
        Ok(Self {
            options: options.clone(),
            ground,
            armoury: Armoury::new(folder, options.seed, options.hits),
            tally: Tally::default(),
            witness: Witness::default(),
            archive: Archive::new(folder),
            programs: kept,
            folder: folder.to_owned(),
            started: AtomicU64::new(0),
        })
    }

    /// The file that gets a line for each call.
    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join("calls.log")
    }

    /// Starts a service and keeps it running at the address that it finds.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) async fn keep_service(self: &Arc<Self>, name: &'static str) -> anyhow::Result<Kept> {
        let first = self.start_service(name, "127.0.0.1:0").await?;
        let url = first.url.clone();
        Ok(Kept::service(Arc::clone(self), name, url, first.started))
    }

    /// Starts a worker and keeps it running.
    pub(super) fn keep_worker(self: &Arc<Self>, slot: u16, services: Vec<String>) -> Kept {
        Kept::worker(Arc::clone(self), slot, services)
    }

    async fn start_service(
        &self,
        name: &'static str,
        listen: &str,
    ) -> Result<StartedService, NotStarted> {
        let mut arguments: Vec<OsString> = vec!["--listen".into(), listen.into()];
        arguments.extend(["--database".into(), self.ground.address(name).into()]);
        let passers: &[Passer] = if name == "orders" {
            arguments.extend(["--saga-database".into(), self.ground.sagas_address().into()]);
            arguments.extend(["--rollout", ROLLOUT].map(OsString::from));
            &[Passer::Orders]
        } else {
            let seed = self.options.seed.to_string();
            arguments.extend(["--faults", "mild", "--seed", seed.as_str()].map(OsString::from));
            &[Passer::Participant]
        };
        let (started, first) = self.start(name, name, arguments, passers).await?;
        match first.trim().strip_prefix("listening on ") {
            Some(url) => Ok(StartedService { url: url.to_owned(), started }),
            None => Err(NotStarted::saying(&first)),
        }
    }

    async fn start_worker(&self, slot: u16, services: &[String]) -> Result<Started, NotStarted> {
        let mut arguments: Vec<OsString> =
            vec!["--saga-database".into(), self.ground.sagas_address().into()];
        for (name, url) in SERVICES.iter().zip(services) {
            arguments.extend([format!("--{name}").into(), url.into()]);
        }
        let drain_ms = DRAIN.as_millis().to_string();
        let lease_ms = self.options.lease_ms.to_string();
        let retention_ms = self.options.retention_ms.to_string();
        let newest = newest_version(slot, self.options.workers);
        let newest_version = newest.to_string();
        let figures = [
            ("--newest-version", newest_version.as_str()),
            ("--lease-ms", lease_ms.as_str()),
            ("--retention-ms", retention_ms.as_str()),
            ("--poll-ms", "100"),
            ("--drain-ms", drain_ms.as_str()),
            // So few that all workers have some, and get on with them before they die.
            ("--concurrency-max", "16"),
            // Here it is not the saga that kills its workers.
            ("--losses-max", "1000000"),
        ];
        arguments.extend(figures.iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        let passers = [Passer::Worker, Passer::Draining, Passer::Forgetting];
        let (name, since) = (format!("worker-{slot}"), now_micros());
        let (started, first) = self.start(&name, WORKER, arguments, &passers).await?;
        if first.trim() != "worker ready" {
            return Err(NotStarted::saying(&first));
        }
        self.witness.starts(started.process.pid(), Knows { since, newest });
        Ok(started)
    }

    async fn start(
        &self,
        name: &str,
        program: &str,
        mut arguments: Vec<OsString>,
        passers: &[Passer],
    ) -> Result<(Started, String), NotStarted> {
        arguments.push("--exit-with-stdin".into());
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let point = self.armoury.deal(passers);
        let mut command = Command::new(self.programs.join(program));
        command.args(arguments);
        command.env("SAGA_CRASH_LOG", self.armoury.log());
        command.env(
            "SAGA_CRASH_SEED",
            (self.options.seed.wrapping_mul(1_000_003) + number).to_string(),
        );
        let armed = point.map(Point::arm).unwrap_or_default();
        command.env("SAGA_CRASH_POINTS", format!("{armed},{LATE}"));
        command.env("SAGA_PLANT", self.options.plant.map_or("", |plant| plant.word()));
        command.env("SAGA_CALL_JOURNAL", self.journal());
        command.env("SAGA_ARCHIVED_UNTIL", self.archive.until());
        let calm = self.ground.calm();
        let started =
            Process::start_command(&format!("{name}-{number}"), command, &self.folder).await;
        match started {
            Ok((process, first)) => Ok((Started { process, point }, first)),
            Err(error) => {
                if let Some(point) = point {
                    self.armoury.take_back(point);
                }
                let why = format!("{error:#}");
                let at_point = point.is_some() && why.contains("signal: 6");
                // A store that is busy beyond half a lease may be waited for, or not.
                let busy = why.contains("the store is not available");
                Err(NotStarted {
                    why,
                    expected: busy || !self.ground.is_calm_since(calm),
                    at_point,
                })
            }
        }
    }
}

/// The newest version of the saga that the worker in a slot knows: about every third one only the first.
fn newest_version(slot: u16, workers: u16) -> u32 {
    if workers > 1 && slot % 3 == 1 { 1 } else { 2 }
}

/// Microseconds since 1970.
pub(super) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A process that has said that it is ready.
#[derive(Debug)]
struct Started {
    process: Process,
    point: Option<&'static Point>,
}

struct StartedService {
    url: String,
    started: Started,
}

/// Why a process is not ready.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
struct NotStarted {
    why: String,
    /// The soak itself is the reason.
    expected: bool,
    /// It died at a crash point.
    at_point: bool,
}

impl NotStarted {
    fn saying(first: &str) -> Self {
        let why = format!("it said `{first}`, which no process of its kind says");
        Self { why, expected: false, at_point: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_workers_know_one_version_and_others_know_both_however_many_there_are() {
        let known = |workers| (1..=workers).map(move |slot| newest_version(slot, workers));
        assert_eq!(known(1).collect::<Vec<_>>(), [2]);
        for workers in 2..9 {
            assert!(known(workers).any(|newest| newest == 1), "{workers} workers");
            assert!(known(workers).any(|newest| newest == 2), "{workers} workers");
        }
    }
}
