//! Load tests of the Saga engine. `cargo run --release -p saga-benches -- engine --help`

mod cost;
mod daemon;
mod database;
mod engine;
mod figures;
mod finished;
mod floor;
mod idle;
mod load;
mod look;
mod machine;
mod memory;
mod on_record;
mod open;
mod outage;
mod process;
mod ratio;
mod recovery;
mod report;
mod retention;
mod scale;
mod subscribers;
mod table;
mod worker_process;
mod workload;

use clap::{Parser, Subcommand};

/// What a server would use: values cross threads on their way to the store, and the allocator of
/// glibc spends a third of the engine's time on locks of its own there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load tests of the Saga engine.
#[derive(Debug, Parser)]
#[command(name = "saga-bench")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Closed loop through the whole engine: three in-process steps that return at once
    Engine(engine::Options),
    /// What the database itself can do with the rows of such sagas, and nothing of the engine
    Floor(floor::Options),
    /// Floor and engine in turn, and how much of the floor the engine reaches
    Ratio(ratio::Options),
    /// Statements per second of idle workers while sagas wait
    Idle(idle::Options),
    /// How fast finished sagas leave, and what that costs those that run
    Retention(retention::Options),
    /// Memory for each of many subscribers to the feed of one daemon, and how soon they hear
    Subscribers(subscribers::Options),
    /// The daemon of that bench
    #[command(hide = true)]
    SubscribersDaemon(subscribers::Served),
    /// How cost grows: with clients, workers, steps, payload, history, and sagas due at once
    Scale(Box<scale::Options>),
    /// How soon the sagas of a killed worker go on elsewhere
    Recovery(recovery::Options),
    /// PostgreSQL is stopped under load: how soon sagas go on when it is back, and that none is lost
    Outage(outage::Options),
    /// Bytes for each sleeping, running and finished saga, in memory and on disk
    Memory(memory::Options),
    /// A worker of these two
    #[command(hide = true)]
    WorkerProcess(worker_process::Served),
    /// Open loop: sagas arrive by a schedule, with trouble on demand; a report in JSON and HTML
    Load(Box<open::Options>),
    /// Two reports of `load` side by side, with their ratios
    Compare(report::compare::Options),
    /// The order system with a participant in trouble, without and with breakers and backoff
    Table(table::Options),
    /// Freezes a daemon under load, and fails unless the latencies show it
    Selfcheck(open::selfcheck::Check),
}

fn main() -> anyhow::Result<()> {
    let Cli { bench } = Cli::parse();
    match bench {
        Bench::Engine(options) => engine::run(&options),
        Bench::Floor(options) => floor::run(&options),
        Bench::Ratio(options) => ratio::run(&options),
        Bench::Idle(options) => idle::run(&options),
        Bench::Retention(options) => retention::run(&options),
        Bench::Subscribers(options) => subscribers::run(&options),
        Bench::SubscribersDaemon(options) => subscribers::serve(&options),
        Bench::Scale(options) => scale::run(&options),
        Bench::Recovery(options) => recovery::run(&options),
        Bench::Outage(options) => outage::run(&options),
        Bench::Memory(options) => memory::run(&options),
        Bench::WorkerProcess(options) => worker_process::serve(&options),
        Bench::Load(options) => open::run(&options),
        Bench::Compare(options) => report::compare::run(&options),
        Bench::Table(options) => table::run(&options),
        Bench::Selfcheck(check) => open::selfcheck::run(&check),
    }
}
