//! Running the daemon.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use saga_core::Definition;
use saga_store::PostgresOptions;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::arguments::Settings;
use super::migrate::unusable;
use super::notify::Supervisor;
use super::reload::{self, Reloader};
use super::signals::{Asked, Signals, end_with_stdin};
use super::{Stop, files};
use crate::access::ApiKeys;
use crate::config::{Config, Insecure, LogConfig, LogFormat, WorkerConfig, mask};
use crate::declared::{self, Declared, Options};
use crate::otlp::Otlp;
use crate::tls::Tls;
use crate::{Daemon, Metrics, Webhooks};

/// How long telemetry may take to leave at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn serve(settings: Settings, coded: Vec<Definition>) -> Result<ExitCode, Stop> {
    let values = settings.gather()?;
    let mut config = values.read()?;
    log_to_stderr(&config.log);
    files::make_room(&mut config.limits, config.worker.concurrency_max);
    let declared = match &config.definitions {
        Some(folder) => declared(folder, &config.declared)
            .map_err(|faults| Stop::misconfigured(faults.join("\n")))?,
        None => Vec::new(),
    };
    let (otlp, metrics) = measure(&config)?;
    let tls = config.tls.clone().map(Tls::load).transpose().map_err(Stop::misconfigured)?;
    if config.store_is_default {
        make_folder(&config.store)?;
    }
    warn_of_unproven_store(&config.store);
    let store = saga_store::connect_observed(&config.store, config.upgrade, metrics.on_commit())
        .await
        .map_err(unusable)?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr().map_err(Stop::failed)?;
    let known = reload::known(&declared);
    let codes = coded.iter().map(reload::key).collect();
    let definitions: Vec<Definition> =
        coded.into_iter().chain(declared.into_iter().map(|one| one.definition)).collect();
    let banner = banner(&config, address, &definitions);
    let (figures, ratio) = (config.worker.clone(), config.otlp.ratio);
    let mut builder = Daemon::builder(store)
        .keys(config.keys)
        .hosts(config.hosts)
        .origins(config.origins)
        .limits(config.limits)
        .metrics(metrics.clone())
        .webhooks(config.webhooks)
        .audit_retention(config.audit_retention)
        .worker(move |worker| tuned(worker, figures).trace_ratio(ratio));
    if config.insecure == Insecure::Yes {
        builder = builder.insecure();
    }
    if let Some(tls) = &tls {
        builder = builder.tls(tls.clone());
    }
    for definition in definitions {
        builder = builder.register(definition);
    }
    let daemon = builder.start(listener).await.map_err(Stop::misconfigured)?;
    let handle = daemon.handle();
    let reloader = Reloader { source: settings, values, handle, tls, known, coded: codes };
    // Before anybody is told that it runs: a signal that comes then finds somebody who listens.
    let signals = Signals::listen().map_err(Stop::failed)?;
    let shutdown = CancellationToken::new();
    tokio::spawn(heed(signals, reloader, shutdown.clone()));
    end_with_stdin(config.stdin, shutdown.clone());
    println!("{banner}");
    run(daemon, shutdown).await;
    if let Some(otlp) = otlp {
        let deadline = Instant::now() + FLUSH_WITHIN;
        metrics.finish(deadline).await;
        otlp.finish(deadline).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets up what counts, measures and traces; before the worker starts, which asks whether anybody
/// listens.
fn measure(config: &Config) -> Result<(Option<Otlp>, Metrics), Stop> {
    // As the worker names itself.
    let by_process = || format!("process-{}", std::process::id());
    let instance = config.worker.name.clone().unwrap_or_else(by_process);
    let otlp = Otlp::start(&config.otlp, &instance).map_err(Stop::failed)?;
    let metrics = Metrics::exporting(otlp.as_ref()).map_err(Stop::failed)?;
    metrics.install_globally();
    Ok((otlp, metrics))
}

/// Runs the daemon to its end and keeps the supervisor informed.
async fn run(daemon: Daemon, shutdown: CancellationToken) {
    let supervisor = Supervisor::find();
    supervisor.ready();
    let informing = async {
        tokio::join!(supervisor.keep_alive(), async {
            shutdown.cancelled().await;
            supervisor.stopping();
        })
        .0
    };
    let report = tokio::select! {
        report = daemon.run(shutdown.clone()) => report,
        never = informing => match never {},
    };
    if report.gave_up {
        tracing::warn!(
            "calls in flight were given up at the end of worker.drain_timeout; their sagas go on elsewhere, or here after the next start"
        );
    }
    tracing::info!(sagas = report.sagas, "drained");
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Stop> {
    TcpListener::bind(address).await.map_err(|error| {
        Stop::failed(format!("cannot listen on {address}: {error}; choose another --listen"))
    })
}

/// The definitions of a folder, or everything that is wrong with them. A secret that cannot be found
/// now would only be missed when the first saga needs it, so it is a fault as well.
pub(super) fn declared(folder: &Path, options: &Options) -> Result<Vec<Declared>, Vec<String>> {
    let declared = declared::load(folder, options)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let missing: Vec<_> = declared
        .iter()
        .flat_map(|one| one.secrets.iter().map(move |name| (one, name)))
        .filter_map(|(one, name)| {
            let why = options.secrets.check(name).err()?;
            Some(format!("{}: {why}", one.file))
        })
        .collect();
    if missing.is_empty() { Ok(declared) } else { Err(missing) }
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
        LogFormat::Json => subscriber.json().flatten_event(true).with_span_list(false).try_init(),
    };
}

/// Says so when whoever stands between this machine and the database could read and change everything.
fn warn_of_unproven_store(url: &str) {
    if !url.starts_with("postgres") {
        return;
    }
    // What is wrong with the URL is told by whoever opens it.
    if let Ok(options) = PostgresOptions::from_url(url)
        && let Some(host) = options.unproven_host()
    {
        tracing::warn!(
            host,
            "the database server need not prove who it is, and may be spoken to in the clear: add ?sslmode=verify-full to the URL of the store, and sslrootcert=PATH for an authority of your own"
        );
    }
}

/// The folder of the default store; one that was named has to be there.
pub(super) fn make_folder(url: &str) -> Result<(), Stop> {
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
    let keys = match config.keys.is_empty() {
        true => "none: everybody who reaches the API may do everything".to_owned(),
        false => listed(&config.keys),
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let known = if definitions.is_empty() {
        "none (--definitions FOLDER): the API serves workers of other processes on this store"
            .to_owned()
    } else {
        let names = definitions.iter().map(|definition| definition.spec().reference().to_string());
        names.collect::<Vec<_>>().join(", ")
    };
    let webhooks = match config.webhooks.is_empty() {
        true => String::new(),
        false => format!("\n  webhooks     {}", named(&config.webhooks)),
    };
    format!(
        "saga-worker {release}\n  API          {scheme}://{address}\n  for people   {scheme}://{address}/docs\n  \
         metrics      {scheme}://{address}/metrics\n  store        {store}\n  API keys     {keys}\n  \
         definitions  {known}{webhooks}\nEnd it with Ctrl-C or SIGTERM: calls in flight get {drain:?}; a second one ends it at once.",
        release = env!("CARGO_PKG_VERSION"),
        store = mask(&config.store),
        drain = config.worker.drain_timeout,
    )
}

/// The names of webhooks.
pub(super) fn named(webhooks: &Webhooks) -> String {
    webhooks.iter().map(|hook| hook.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The holders of keys with their roles.
pub(super) fn listed(keys: &ApiKeys) -> String {
    keys.holders().map(|(id, role)| format!("{id} ({role})")).collect::<Vec<_>>().join(", ")
}

/// The first signal to end begins the drain, the second ends the process. What is durable stays so.
async fn heed(mut signals: Signals, mut reloader: Reloader, shutdown: CancellationToken) {
    loop {
        match signals.next().await {
            Asked::End => break,
            Asked::Reload if shutdown.is_cancelled() => {
                tracing::warn!("not reloaded: the daemon drains");
            }
            // The store may take its time, which whoever wants it to end need not wait for.
            Asked::Reload => tokio::select! {
                biased;
                _ = signals.end() => break,
                () = reloader.reload() => {}
            },
        }
    }
    shutdown.cancel();
    let code = signals.end().await;
    eprintln!("saga-worker: a second signal: ending at once");
    std::process::exit(code.into());
}
