//! A worker for the saga `place-order`, alone or with the HTTP API of the daemon.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use saga_daemon::Daemon;
use saga_examples::database::{self, Address};
use saga_examples::place_order::{self, Participants};
use saga_examples::service::{self, StopFlags};
use saga_worker::{Worker, WorkerBuilder};

/// Runs the sagas of orders. Any number of them may share one saga database.
#[derive(Debug, Parser)]
struct Flags {
    /// Database of the sagas, shared with the order service: a SQLite file, created if missing, or
    /// the URL of a PostgreSQL database
    #[arg(long, value_name = "PATH|postgres://..")]
    saga_database: Address,

    /// Serve the API of the daemon at this address too; port 0 takes a free one. Without it sagas
    /// come from other processes
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,

    /// Who takes part
    #[command(flatten)]
    participants: Participants,

    /// How long after this worker's death others take its sagas over, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    lease_ms: u64,

    /// How often to look for sagas that are due when no hint comes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    poll_ms: u64,

    /// How long calls in flight may go on after the signal to stop, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    drain_ms: u64,

    /// Most sagas driven at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency_max: u16,

    /// At how many workers lost in a row a saga is stuck, because it may be what kills them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    losses_max: u32,

    /// How long after their verdicts sagas are deleted, in milliseconds. Without it they are kept
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1_000..))]
    retention_ms: Option<u64>,

    /// Newest version of the saga that this worker knows: 2 freezes points before it redeems the coupon.
    /// New orders start on the newest version that anybody knows, unless a rollout says otherwise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(place_order::NEWEST)))]
    newest_version: u32,

    /// When to stop
    #[command(flatten)]
    stop: StopFlags,
}

fn main() -> ExitCode {
    service::run(work(Flags::parse()))
}

async fn work(flags: Flags) -> anyhow::Result<()> {
    let stop = service::stop_signal(flags.stop)?;
    let store = database::open_sagas(&flags.saga_database).await?;
    let definitions = place_order::definitions(&flags.participants, flags.newest_version)?;
    let report = if let Some(address) = flags.listen {
        let daemon = definitions
            .into_iter()
            .fold(Daemon::builder(store), |daemon, definition| daemon.register(definition));
        let daemon = daemon.worker(move |worker| tuned(worker, &flags));
        let listener = service::bind(address).await?;
        let daemon = daemon.start(listener).await?;
        tracing::info!(address = %daemon.address(), "ready");
        say(&format!("listening on http://{}", daemon.address()))?;
        daemon.run(stop).await
    } else {
        let builder = definitions
            .into_iter()
            .fold(Worker::builder(store), |worker, definition| worker.register(definition));
        let worker = tuned(builder, &flags).start().await?;
        tracing::info!(sagas = %flags.saga_database, "ready");
        say("worker ready")?;
        stop.cancelled().await;
        worker.shutdown().await
    };
    tracing::info!(?report, "drained");
    Ok(())
}

fn tuned(worker: WorkerBuilder, flags: &Flags) -> WorkerBuilder {
    let worker = match flags.retention_ms {
        Some(age) => worker.retention(Duration::from_millis(age)),
        None => worker,
    };
    worker
        .lease_ttl(Duration::from_millis(flags.lease_ms))
        .poll_interval(Duration::from_millis(flags.poll_ms))
        .drain_timeout(Duration::from_millis(flags.drain_ms))
        .concurrency_max(flags.concurrency_max.into())
        .losses_max(flags.losses_max)
}

/// Tells a parent process that all is set.
fn say(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
