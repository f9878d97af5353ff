//! What every example service needs around its business: flags, a listener, an end.

use std::io::{self, IsTerminal as _, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use saga_participant::BarrierError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::database::Address;
use crate::hang_up::{BreakableListener, HangUp};

/// What is logged unless `RUST_LOG` says otherwise: each call with its answer, and of a worker each
/// attempt that failed and each saga that ended.
const LOGGED: &str = "info,sqlx=warn,saga_worker=debug";

/// How long open requests may go on after the signal to stop.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// The flags that every service has.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceFlags {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// SQLite file of this service, created if missing; or the URL of a PostgreSQL database, where
    /// the service has a schema of its own name
    #[arg(long, value_name = "PATH|postgres://..")]
    pub database: Address,

    /// When to stop
    #[command(flatten)]
    pub stop: StopFlags,
}

/// The flag that every process has.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct StopFlags {
    /// Exit when standard input ends, so that a parent that dies leaves nothing running
    #[arg(long)]
    pub exit_with_stdin: bool,
}

/// Why a service could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The database cannot be opened or created.
    #[error(
        "cannot open the database `{address}`: {source}; expected a SQLite file, a path in an \
         existing, writable folder where one can be created, or a PostgreSQL database that its \
         user may create a schema in"
    )]
    OpenDatabase {
        /// The address as given, without a password.
        address: Address,
        /// What the database says.
        source: sqlx::Error,
    },
    /// The tables cannot be created or filled.
    #[error("cannot prepare the tables of the database: {0}")]
    PrepareDatabase(#[from] sqlx::Error),
    /// The guard rows' table cannot be created.
    #[error("cannot prepare the barrier of the database: {0}")]
    PrepareBarrier(#[from] BarrierError),
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another --listen, or port 0 for a free one"
    )]
    Listen {
        /// The address as given.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A signal cannot be caught, standard output cannot be written, or the listener broke.
    #[error("the operating system refuses what a service needs: {0}")]
    System(#[from] io::Error),
}

/// Runs a process to its exit code: sets up logs on standard error (`RUST_LOG`) and a
/// runtime, and prints an error as one line.
pub fn run<W, E>(work: W) -> ExitCode
where
    W: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).init();
    let done = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(work).map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot start the runtime: {error}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A token that fires on SIGTERM, on SIGINT, and with `--exit-with-stdin` at the end of standard
/// input.
///
/// # Errors
/// When the signals cannot be caught.
pub fn stop_signal(flags: StopFlags) -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    if flags.exit_with_stdin {
        let stopped = stop.clone();
        // A plain thread, because a runtime waits at its end for a blocking read of its own.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stopped.cancel();
        });
    }
    Ok(stop)
}

/// Listens on `address` and prints the line that tells a parent process where:
/// `listening on http://127.0.0.1:PORT`.
///
/// # Errors
/// [`ServiceError::Listen`], or [`ServiceError::System`] when standard output is closed.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener = bind(address).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening");
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{address}")?;
    stdout.flush()?;
    Ok(listener)
}

/// Listens on `address` and prints nothing.
///
/// # Errors
/// [`ServiceError::Listen`], when the port is taken for instance.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServiceError::Listen { address, source })
}

/// Serves `router` until `stop` fires, then lets open requests end for three seconds at most.
///
/// Handlers may take `ConnectInfo<HangUp>` to break their connection off.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let service = router.into_make_service_with_connect_info::<HangUp>();
    let drained = axum::serve(BreakableListener(listener), service)
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let served = tokio::select! {
        served = drained => Ok(served?),
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN_MAX).await } => Ok(()),
    };
    tracing::info!("stopped");
    served
}
