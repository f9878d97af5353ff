//! One soak, from the build to the report.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;

use super::archive;
use super::chaos::{self, LATE, Targets};
use super::checker;
use super::crew::{Crew, SERVICES};
use super::ground::Ground;
use super::load;
use super::options::Options;
use super::progress::Progress;
use super::report::Report;
use super::sql::Reader;
use crate::demo::build;
use crate::demo::folder::Folder;
use crate::demo::screen::Screen;
use crate::interrupt::Interrupts;

/// How often is looked whether all sagas have their verdict.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much longer than it should a delayed call may take to land.
const LANDING_MARGIN: Duration = Duration::from_secs(1);

/// Runs the soak; whatever happens, nothing is left running.
///
/// # Errors
/// When the soak could not be set up, or its databases cannot be read.
pub(super) async fn soak(options: &Options) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let mut progress = Progress(Screen::new(options.json));
    let mut folder = Folder::named("saga-soak-")?;
    if options.keep {
        folder.keep();
    }
    let outcome = tokio::select! {
        outcome = perform(options, &folder, &mut progress) => outcome,
        // Dropping the processes kills them.
        interrupt = interrupts.next() => {
            progress.0.say(interrupt.to_string());
            return Ok(ExitCode::from(interrupt.exit_code));
        }
    };
    if folder.is_kept() {
        progress.0.say(format!("databases and logs are kept in {}", folder.path().display()));
    }
    let report = outcome?;
    report.show(options, &mut progress.0);
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(
    options: &Options,
    folder: &Folder,
    progress: &mut Progress,
) -> anyhow::Result<Report> {
    let programs = build::programs(&mut progress.0, &["saga-examples"], "crash-points").await?;
    let ground = Ground::prepare(options.store, folder.path()).await?;
    let crew = Arc::new(Crew::new(options, ground, &programs, folder.path())?);
    let began = Instant::now();
    let mut services = Vec::new();
    for name in SERVICES {
        services.push(crew.keep_service(name).await?);
    }
    let urls: Vec<String> = services.iter().map(|service| service.url.clone()).collect();
    let workers = (1..=options.workers).map(|slot| crew.keep_worker(slot, urls.clone())).collect();
    let targets = Targets { workers, services };

    let (stop, stopped) = watch::channel(false);
    let shop = urls.last().cloned().context("there is no order service")?;
    let load = tokio::spawn(load::post(Arc::clone(&crew), shop, stopped));
    let (close, closed) = watch::channel(false);
    let archive = tokio::spawn(archive::keep(Arc::clone(&crew), closed));
    chaos::rage(&crew, &targets, progress).await;
    stop.send_replace(true);
    chaos::calm(&crew, &targets).await;
    let (raged, landed) = (began.elapsed(), Instant::now() + LATE + LANDING_MARGIN);
    progress.0.say(format!("{} s of faults are over; waiting for verdicts", raged.as_secs()));
    let promises = load.await.context("posting the orders panicked")??;
    let orders = promises.orders.len();

    let settled = settle(&crew).await;
    // What was delayed lands until then, and must change nothing any more.
    tokio::time::sleep(landed.saturating_duration_since(Instant::now())).await;
    end(targets).await;
    close.send_replace(true);
    archive.await.context("putting ended sagas aside panicked")??;
    let checked = checker::check(&crew, promises).await?;
    let (crew, elapsed) = (&crew, began.elapsed());
    Ok(Report::new(crew, checked, orders, [raged, settled, elapsed]))
}

/// Waits until every saga has its verdict or is stuck, and tells how long that took.
async fn settle(crew: &Crew) -> Duration {
    let began = Instant::now();
    let mut sagas = Reader::new(crew.ground.sagas());
    while began.elapsed() < crew.options.patience() {
        // What is never settled is a finding of the check.
        match sagas.number(checker::UNSETTLED, &[]).await {
            Ok(0) => break,
            Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    began.elapsed()
}

/// Ends the workers in order, all at once, and then the services.
async fn end(targets: Targets) {
    let Targets { workers, services } = targets;
    for kept in [workers, services] {
        let ending: Vec<_> = kept.into_iter().map(|kept| tokio::spawn(kept.end())).collect();
        for ended in ending {
            ended.await.ok();
        }
    }
}
