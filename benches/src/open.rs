//! Open loop: sagas arrive by a schedule, whether or not the system under test keeps up.
//!
//! `schedule` says when, `drive` lets them in, `target` is what they come to, `trouble` what goes
//! wrong meanwhile, which `turns` brings about and `sampler` looks at; `recorder` takes the latencies,
//! `generator` tells how we did ourselves, and `audit` holds the verdicts against the effects.

pub(crate) mod audit;
pub(crate) mod drive;
pub(crate) mod generator;
mod ledger;
mod options;
mod order;
mod participants;
pub(crate) mod policies;
pub(crate) mod recorder;
mod sampler;
pub(crate) mod schedule;
pub(crate) mod selfcheck;
pub(crate) mod target;
pub(crate) mod trouble;
pub(crate) mod turns;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use saga_examples::switches::Mix;

use crate::database::Database;
use crate::load::StoreKind;
use crate::machine::Machine;
use crate::process;
use crate::report::{FORMAT, Report, with_extension};
use audit::Verdicts;
use drive::{Clock, drive};
use generator::Generator;
pub(crate) use options::Options;
use order::REJECTING;
use recorder::Recorder;
use sampler::Sampler;
use target::engine::Engine;
use target::http::Starter;
use target::processes::{Alone, Settings, Shop};
use target::{Kind, Target};
use turns::{Freeze, Turns};

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let report = measure(options, "Saga under load")?;
    println!("{}", report.summary());
    if let Some(path) = &options.report {
        report.write(path)?;
        println!("report: {}", with_extension(path, "html").display());
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    ensure!(report.audit.findings.is_empty(), "the audit found what the verdicts do not explain");
    let failed = report.refused;
    let why = report.reasons.first().map_or("", String::as_str);
    ensure!(failed == 0, "{failed} sagas could not be started: {why}");
    Ok(())
}

/// One run on a database of its own, from the set-up to the audit.
pub(crate) fn measure(options: &Options, title: &str) -> anyhow::Result<Report> {
    options.check()?;
    for warning in options.warnings() {
        eprintln!("warning: {warning}");
    }
    if options.target != Kind::Engine {
        process::raise_limit_for(options.in_flight_max)?;
    }
    let machine = Machine::look()?;
    machine.warn();
    let database = match (options.target, options.store) {
        (Kind::Engine, store) => Database::fresh(store)?,
        (Kind::Daemon | Kind::Orders, _) => Database::Memory,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(load(options, &database, machine, title));
    // What never ended must not keep this process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    report
}

async fn load(
    options: &Options,
    database: &Database,
    machine: Machine,
    title: &str,
) -> anyhow::Result<Report> {
    let schedule = Arc::new(options.schedule()?);
    let troubles = options.troubles()?;
    let target = start(options, database).await?;
    target.set(|name| troubles.switches(name, REJECTING, 0.0)).await?;
    let frozen = options.freeze.map(Freeze::span);
    let windows = troubles.spans().chain(frozen);
    let recorder = Arc::new(Recorder::new(options.warm_up, schedule.length(), windows));
    let verdicts = Arc::new(Verdicts::new(schedule.arrivals()));
    let generator = Generator::new(schedule.clone(), options.warm_up, options.in_flight_max);
    let (generator, clock) = (Arc::new(generator), Clock::new());
    let (caller, noted) = (target.caller(), verdicts.clone());
    let call = move |number| {
        let (caller, noted) = (caller.clone(), noted.clone());
        async move {
            noted.begin(number);
            let end = caller.place(number).await;
            noted.note(number, &end);
            end
        }
    };
    let turns = Turns::new(&target, &troubles, clock, options.freeze);
    let mut sampler = Sampler::new(&target, &recorder, &generator, clock, turns.clone());
    let driven = drive(&generator, clock, options.drain, &recorder, call);
    tokio::select! {
        () = driven => {}
        () = sampler.run() => {}
        failed = turns.run() => failed.context("the load was not put on as planned")?,
    }
    let (breakers, turned) = (sampler.finish(), turns.finish().await?);
    let diligence = generator.finish(target.repeats());
    let audit = audit::audit(&target, &verdicts).await;
    target.stop().await;
    let mut recorded = recorder.finish();
    if troubles.mix != Mix::default() {
        // What goes wrong all the time leaves no phase healthy.
        let healthy = recorded.phases.iter_mut().filter(|phase| phase.name == "healthy");
        healthy.for_each(|phase| "mix only".clone_into(&mut phase.name));
    }
    let seconds = (schedule.length().saturating_sub(options.warm_up)).as_secs_f64();
    Ok(Report {
        format: FORMAT,
        title: title.to_owned(),
        machine,
        settings: options.told(),
        offered_per_s: recorded.ends.all() as f64 / seconds,
        verdicts_per_s: verdicts_per_s(&recorded.seconds, options.warm_up, schedule.length()),
        warm_up_s: options.warm_up.as_secs_f64(),
        length_s: schedule.length().as_secs_f64(),
        ends: recorded.ends,
        latencies: recorded.latencies,
        phases: recorded.phases,
        seconds: recorded.seconds,
        troubles: troubles.windows,
        turned,
        frozen,
        breakers: breakers.samples,
        breakers_unknown_s: breakers.unknown_s,
        reasons: recorded.reasons,
        refused: recorded.refused,
        generator: diligence,
        audit,
    })
}

/// Verdicts that fell into the measured time, whenever their sagas had arrived.
fn verdicts_per_s(seconds: &[recorder::Second], warm_up: Duration, length: Duration) -> f64 {
    // Whole seconds that lie in the measured time.
    let (from, until) = (warm_up.as_secs_f64().ceil() as usize, length.as_secs() as usize);
    let measured = seconds.get(from..until.min(seconds.len())).unwrap_or_default();
    let ended: u64 = measured.iter().map(|second| second.ended).sum();
    ended as f64 / (measured.len().max(1)) as f64
}

async fn start(options: &Options, database: &Database) -> anyhow::Result<Target> {
    let policies = &options.policies;
    let settings = Settings { store: options.store, concurrency: options.in_flight_max, policies };
    Ok(match (options.target, &options.url) {
        (Kind::Engine, _) => Target::Engine(
            Engine::start(database, options.workers, options.in_flight_max, policies).await?,
        ),
        (Kind::Daemon, Some(url)) => {
            let definition = options.definition.as_deref().unwrap_or(order::PLACE_ORDER);
            // Another run must not find the sagas of this one under its keys.
            let run = format!("load-{}-{}-", std::process::id(), options.seed);
            let token = options.token.as_deref();
            let input = options.input.as_deref().unwrap_or("null");
            let starter = Starter::new(url, definition, token, &run)?;
            let answers = starter.breakers().await;
            answers.with_context(|| format!("--url {url}: no daemon answers there"))?;
            Target::Given(starter, input.into())
        }
        (Kind::Daemon, None) => {
            let alone = Alone::start(settings).await?;
            let starter = Starter::new(&alone.daemon.url, order::PLACE_ORDER, None, "")?;
            Target::Daemon(starter, Box::new(alone))
        }
        (Kind::Orders, _) => {
            let shop = Shop::start(settings).await?;
            let starter = Starter::new(&shop.daemon.url, order::PLACE_ORDER, None, "")?;
            Target::Orders(starter, Box::new(shop))
        }
    })
}

/// Where a target can keep its sagas.
pub(crate) fn store_fits(target: Kind, store: StoreKind) -> bool {
    target == Kind::Engine || store != StoreKind::Memory
}
