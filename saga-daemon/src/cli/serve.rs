//! Running the daemon.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use saga_core::Definition;
use saga_core::store::StoreError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::Stop;
use crate::config::{Config, Insecure, LogConfig, LogFormat, WorkerConfig, mask};
use crate::declared::{self, Options};
use crate::{Daemon, Metrics};

pub(super) async fn serve(
    config: Config,
    mut definitions: Vec<Definition>,
) -> Result<ExitCode, Stop> {
    log_to_stderr(&config.log);
    if let Some(folder) = &config.definitions {
        definitions.extend(declared(folder, &config.declared)?);
    }
    let metrics = Metrics::new().map_err(Stop::failed)?;
    metrics.install_globally();
    if config.store_is_default {
        make_folder(&config.store)?;
    }
    let store = saga_store::connect(&config.store).await.map_err(|error| match error {
        StoreError::Unavailable(_) => Stop::unavailable(error),
        StoreError::Corrupt(_) | StoreError::Unusable(_) => Stop::misconfigured(error),
    })?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Stop::failed(format!(
            "cannot listen on {}: {error}; choose another --listen",
            config.listen
        ))
    })?;
    let address = listener.local_addr().map_err(Stop::failed)?;
    let banner = banner(&config, address, &definitions);
    let figures = config.worker.clone();
    let mut builder = Daemon::builder(store)
        .keys(config.keys)
        .hosts(config.hosts)
        .limits(config.limits)
        .metrics(metrics)
        .worker(move |worker| tuned(worker, figures));
    if config.insecure == Insecure::Yes {
        builder = builder.insecure();
    }
    for definition in definitions {
        builder = builder.register(definition);
    }
    let daemon = builder.start(listener).await.map_err(Stop::misconfigured)?;
    println!("{banner}");
    let shutdown = CancellationToken::new();
    tokio::spawn(end_on_signals(shutdown.clone()));
    let report = daemon.run(shutdown).await;
    if report.gave_up {
        tracing::warn!(
            "calls in flight were given up at the end of worker.drain_timeout; their sagas go on elsewhere, or here after the next start"
        );
    }
    tracing::info!(sagas = report.sagas, "drained");
    Ok(ExitCode::SUCCESS)
}

/// The definitions of a folder. A secret that cannot be found now would only be missed when the
/// first saga needs it, so it is a fault of the start.
fn declared(folder: &Path, options: &Options) -> Result<Vec<Definition>, Stop> {
    let declared = declared::load(folder, options).map_err(Stop::misconfigured)?;
    let missing: Vec<_> = declared
        .iter()
        .flat_map(|one| one.secrets.iter().map(move |name| (one, name)))
        .filter_map(|(one, name)| {
            let why = options.secrets.check(name).err()?;
            Some(format!("{}: {why}", one.file))
        })
        .collect();
    if !missing.is_empty() {
        return Err(Stop::misconfigured(missing.join("\n")));
    }
    Ok(declared.into_iter().map(|one| one.definition).collect())
}

fn tuned(worker: saga_worker::WorkerBuilder, figures: WorkerConfig) -> saga_worker::WorkerBuilder {
    let worker = worker
        .concurrency_max(figures.concurrency_max)
        .lease_ttl(figures.lease_ttl)
        .poll_interval(figures.poll_interval)
        .drain_timeout(figures.drain_timeout);
    let worker = match figures.retention {
        Some(age) => worker.retention(age),
        None => worker,
    };
    match figures.name {
        Some(name) => worker.name(name),
        None => worker,
    }
}

fn log_to_stderr(log: &LogConfig) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_default();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    // A program that has a subscriber of its own keeps it.
    let _ = match log.format {
        LogFormat::Pretty => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

/// The folder of the default store; one that was named has to be there.
fn make_folder(url: &str) -> Result<(), Stop> {
    let path = Path::new(url.trim_start_matches("sqlite://"));
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = folder.display();
        Stop::misconfigured(format!(
            "cannot make the data folder {folder}: {error}; name a --store"
        ))
    })
}

/// Where everything is.
fn banner(config: &Config, address: SocketAddr, definitions: &[Definition]) -> String {
    let keys = if config.keys.is_empty() {
        "none: everybody who reaches the API may do everything".to_owned()
    } else {
        config
            .keys
            .holders()
            .map(|(id, role)| format!("{id} ({role})"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let known = if definitions.is_empty() {
        "none (--definitions FOLDER): the API serves workers of other processes on this store"
            .to_owned()
    } else {
        let names = definitions.iter().map(|definition| definition.spec().reference().to_string());
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "saga-worker {release}\n  API          http://{address}\n  for people   http://{address}/docs\n  \
         metrics      http://{address}/metrics\n  store        {store}\n  API keys     {keys}\n  \
         definitions  {known}\nEnd it with Ctrl-C or SIGTERM: calls in flight get {drain:?}; a second one ends it at once.",
        release = env!("CARGO_PKG_VERSION"),
        store = mask(&config.store),
        drain = config.worker.drain_timeout,
    )
}

/// The first signal begins the drain, the second ends the process. What is durable stays so.
async fn end_on_signals(shutdown: CancellationToken) {
    signal().await;
    shutdown.cancel();
    let code = signal().await;
    eprintln!("saga-worker: a second signal: ending at once");
    std::process::exit(code);
}

/// Waits for a signal to end, and answers with the exit code that it stands for.
#[cfg(unix)]
async fn signal() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};
    let pair =
        signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
    match pair {
        Ok((mut terminate, mut interrupt)) => tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        },
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            std::future::pending().await
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
async fn signal() -> i32 {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot listen for signals");
        std::future::pending::<()>().await;
    }
    130
}
