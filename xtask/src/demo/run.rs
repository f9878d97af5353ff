//! One run of the demo, from the build to the report.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;

use super::api::{self, Book, Switches};
use super::bounded;
use super::build;
use super::daemons::Daemons;
use super::disk;
use super::driver::{self, Accepted, Posted};
use super::fleet::{Fleet, PARTICIPANTS};
use super::folder::Folder;
use super::journey;
use super::killer::Killer;
use super::monitor::{Monitor, Watched};
use super::options::{Faults, Options};
use super::plan;
use super::report::Report;
use super::screen::Screen;
use super::server::Source;
use super::verdicts::{self, Ended};
use crate::interrupt::{Interrupt, Interrupts};
use crate::text;

/// Whose programs the demo runs.
const PACKAGES: [&str; 2] = ["saga-examples", "saga-daemon"];
/// How many orders are read back at the same time.
const READ_AT_ONCE: usize = 8;
/// How much longer than the latest request may take is waited for it to land.
const LANDING_MARGIN: Duration = Duration::from_millis(500);

/// Runs the demo; whatever happens, nothing is left running.
///
/// # Errors
/// When the demo could not be set up or was cut short by something other than a signal.
pub(crate) async fn demo(options: &Options) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::listen()?;
    let mut screen = Screen::new(options.json);
    let source = Source::find(options)?;
    let programs = tokio::select! {
        built = build::programs(&mut screen, &PACKAGES, "") => built?,
        interrupt = interrupts.next() => return Ok(interrupted(interrupt, &mut screen)),
    };
    let mut folder = Folder::create()?;
    if options.keep {
        folder.keep();
    }
    let mut fleet = Fleet::new(programs, folder.path().to_owned(), source, options);
    let outcome = tokio::select! {
        outcome = perform(options, &mut fleet, &folder, &mut screen) => Ok(outcome),
        interrupt = interrupts.next() => Err(interrupt),
    };
    let outcome =
        outcome.map(|outcome| outcome.map_err(|error| explain(error, &mut fleet, &folder)));
    if is_worth_a_look(&outcome) && fleet.has_services() {
        folder.keep();
    }
    let left = fleet.stop(folder.is_kept()).await;
    if let Ok(Ok(report)) = &outcome {
        report.show(options, &mut screen);
    }
    if folder.is_kept() {
        screen.say(format!("databases and logs are kept in {}", folder.path().display()));
    }
    left.into_iter().for_each(|line| screen.say(line));
    match outcome {
        Err(interrupt) => Ok(interrupted(interrupt, &mut screen)),
        Ok(report) => conclude(&report?, options),
    }
}

/// Whether a run failed by itself, so that its databases and logs tell more than the report.
fn is_worth_a_look(outcome: &Result<anyhow::Result<Report>, Interrupt>) -> bool {
    match outcome {
        Err(_) => false,
        Ok(Err(_)) => true,
        Ok(Ok(report)) => !report.is_ok(),
    }
}

fn interrupted(interrupt: Interrupt, screen: &mut Screen) -> ExitCode {
    screen.say(interrupt.to_string());
    ExitCode::from(interrupt.exit_code)
}

fn conclude(report: &Report, options: &Options) -> anyhow::Result<ExitCode> {
    if options.json {
        let line = report.json(options);
        writeln!(std::io::stdout(), "{line}").context("could not write the JSON object")?;
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds what a person must know about an error: a full disk and a process that ended are the causes
/// of many others, and the logs tell the rest.
fn explain(error: anyhow::Error, fleet: &mut Fleet, folder: &Folder) -> anyhow::Error {
    if disk::is_full(folder.path()) {
        return error.context(disk::full_message(folder.path()));
    }
    if let Err(ended) = fleet.check_running() {
        return ended;
    }
    anyhow::anyhow!("{error:#}{}", fleet.tails())
}

async fn perform(
    options: &Options,
    fleet: &mut Fleet,
    folder: &Folder,
    screen: &mut Screen,
) -> anyhow::Result<Report> {
    screen.live(format!("starting the services on {}", options.store.title()));
    fleet.start().await?;
    let client = api::client()?;
    let daemons = Daemons::new(client.clone(), fleet.addresses(), options.patience());
    let orders = options.orders as usize;
    screen.say(format!(
        "{} on {} with place-order from {}, each with its API (see /docs):",
        text::count(options.workers as usize, "daemon"),
        options.store.title(),
        options.definition.source()
    ));
    fleet.introductions().into_iter().for_each(|line| screen.say(line));
    screen.say(format!(
        "placing {} through the API (seed {}, faults {})",
        text::count(orders, "order"),
        options.seed,
        options.faults,
    ));
    let (progress, through) = watch::channel(0);
    let monitor = Monitor {
        daemons: daemons.clone(),
        fleet,
        folder,
        screen,
        killer: Killer::new(orders, options.kills as usize),
        orders,
        patience: options.patience(),
    };
    let started_at = Instant::now();
    let plan = plan::orders(options.seed, options.orders);
    let posting = driver::post_all(&daemons, plan, &progress);
    let (posted, watched) = tokio::try_join!(posting, monitor.watch(through))?;
    posted.check_any()?;
    settle(options, &client, fleet, screen).await?;
    let books = books(options, &client, fleet).await?;
    let elapsed = watched.ended_at.duration_since(started_at);
    report(options, &daemons, posted, watched, &books, elapsed).await
}

/// Waits until every request that a service delivers late has landed: a verdict must hold whatever
/// arrives after it.
async fn settle(
    options: &Options,
    client: &reqwest::Client,
    fleet: &Fleet,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    if options.faults == Faults::Off {
        return Ok(());
    }
    let mut latest = Duration::ZERO;
    for name in PARTICIPANTS {
        let url = format!("{}/switches", fleet.url(name));
        let switches: Switches = api::get(client, options.patience(), &url).await?;
        latest = latest.max(Duration::from_millis(switches.late_ms));
    }
    let wait = latest + LANDING_MARGIN;
    screen.say(format!("waiting {} until late requests have landed", text::span(wait)));
    tokio::time::sleep(wait).await;
    Ok(())
}

async fn books(
    options: &Options,
    client: &reqwest::Client,
    fleet: &Fleet,
) -> anyhow::Result<Vec<Book>> {
    let mut books = Vec::new();
    for (name, url) in fleet.bookkeepers() {
        let book = api::get(client, options.patience(), &format!("{url}/books")).await;
        books.push(book.with_context(|| format!("could not read the books of {name}"))?);
    }
    Ok(books)
}

async fn report(
    options: &Options,
    daemons: &Daemons,
    posted: Posted,
    watched: Watched,
    books: &[Book],
    elapsed: Duration,
) -> anyhow::Result<Report> {
    let Posted { accepted, repeated, mut broken_promises } = posted;
    let ended = read_back(daemons, accepted).await?;
    broken_promises.extend(shortfalls(options, &watched, ended.len()));
    broken_promises.extend(verdicts::impossible(&ended, options));
    let journey = match journey::choose(&ended) {
        Some(saga) => journey::lines(saga, &daemons.log(&saga.accepted.saga_id).await?),
        None => Vec::new(),
    };
    let audit = super::books::audit(&ended, books);
    let kills = watched.kills;
    Ok(Report { ended, audit, repeated, kills, elapsed, journey, problems: broken_promises })
}

/// What the run itself did not reach.
fn shortfalls(options: &Options, watched: &Watched, accepted: usize) -> Vec<String> {
    let mut shortfalls = Vec::new();
    if watched.gave_up {
        shortfalls.push(format!("no saga moved for {} s, so the demo gave up", options.patience));
    }
    if watched.counts.all() != accepted {
        shortfalls.push(format!(
            "the daemons know {}, but took {}",
            text::count(watched.counts.all(), "saga"),
            text::count(accepted, "order")
        ));
    }
    shortfalls
}

async fn read_back(daemons: &Daemons, accepted: Vec<Accepted>) -> anyhow::Result<Vec<Ended>> {
    bounded::each(accepted, READ_AT_ONCE, |accepted| {
        let daemons = daemons.clone();
        async move {
            let view = daemons.saga(&accepted.saga_id).await?;
            anyhow::ensure!(
                view.id == accepted.saga_id,
                "asked for saga {}, got {}",
                accepted.saga_id,
                view.id
            );
            Ok(Ended { accepted, view })
        }
    })
    .await
}
