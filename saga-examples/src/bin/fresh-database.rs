//! A new PostgreSQL database that lasts as long as this process's standard input.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::Parser;
use saga_examples::database::Address;
use saga_examples::service::{self, StopFlags};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// How long the server may take to let somebody in.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long dropping the database is tried: the server may be on its way back.
const DROP_MAX: Duration = Duration::from_secs(15);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// Creates a database, says `database NAME`, and drops it when standard input ends or a signal
/// comes; the line `keep` on standard input lets it stay.
#[derive(Debug, Parser)]
struct Flags {
    /// The server, by the URL of a database there whose user may create databases
    #[arg(long, value_name = "postgres://..")]
    server: Address,

    /// Fail when the server has fewer connections to spare
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: i64,
}

fn main() -> ExitCode {
    service::run(lend(Flags::parse()))
}

async fn lend(flags: Flags) -> anyhow::Result<()> {
    let Address::Postgres(options) = &flags.server else {
        bail!("--server {} is no PostgreSQL server; expected postgres://..", flags.server);
    };
    let stop = service::stop_signal(StopFlags { exit_with_stdin: false })?;
    let server = |error| anyhow::anyhow!("the server of {}: {error:#}", flags.server);
    let name = create(options, flags.connections).await.map_err(server)?;
    let said =
        writeln!(std::io::stdout(), "database {name}").and_then(|()| std::io::stdout().flush());
    let keep = tokio::select! {
        keep = last_word() => keep && said.is_ok(),
        () = stop.cancelled() => false,
    };
    if keep {
        tracing::info!(name, "the database is kept");
        return Ok(());
    }
    let left = format!("the database {name} of {} is left behind", flags.server);
    drop_database(options, &name).await.with_context(|| format!("{left}: DROP DATABASE {name}"))?;
    Ok(())
}

/// Creates a database under a name that nobody else takes.
async fn create(options: &PgConnectOptions, connections: i64) -> anyhow::Result<String> {
    let mut server = connect(options).await?;
    check_connections(&mut server, connections).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let name = format!("saga_demo_{}_{}", std::process::id(), now.as_micros());
    let created = sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")));
    created.execute(&mut server).await.with_context(|| {
        format!("`{}` could not create a database there", options.get_username())
    })?;
    server.close().await?;
    Ok(name)
}

async fn check_connections(server: &mut PgConnection, needed: i64) -> anyhow::Result<()> {
    let most = "SELECT current_setting('max_connections')::int8
        - current_setting('superuser_reserved_connections')::int8";
    let used = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let most: i64 = sqlx::query_scalar(most).fetch_one(&mut *server).await?;
    let used: i64 = sqlx::query_scalar(used).fetch_one(server).await?;
    // This connection is among the used ones and will be closed.
    let free = most - used + 1;
    if free < needed {
        bail!(
            "it takes {most} connections, of which {free} are free, and {needed} may be needed; \
             take fewer workers or raise max_connections"
        );
    }
    Ok(())
}

async fn connect(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let connected = timeout(CONNECT_MAX, options.connect()).await;
    let connected =
        connected.with_context(|| format!("no connection within {} s", CONNECT_MAX.as_secs()))?;
    // Its text holds that of its source already.
    connected.map_err(|error| anyhow::anyhow!("cannot connect: {error}"))
}

/// Whether the last line of standard input, at its end, says to keep the database.
async fn last_word() -> bool {
    let (said, word) = oneshot::channel();
    // A plain thread, because a runtime waits at its end for a blocking read of its own.
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        // Nobody listens any more once a signal has come.
        let _ = said.send(lines.last().is_some_and(|line| line.trim() == "keep"));
    });
    word.await.unwrap_or(false)
}

/// Drops the database, whoever is still connected to it.
async fn drop_database(options: &PgConnectOptions, name: &str) -> anyhow::Result<()> {
    let since = Instant::now();
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    loop {
        let dropped = async {
            let mut server = connect(options).await?;
            sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut server).await?;
            anyhow::Ok(())
        };
        match dropped.await {
            Err(_) if since.elapsed() < DROP_MAX => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}
