//! Connections: how they are made, and the limits that the server is asked to enforce.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use saga_core::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Error};
use tokio::time::timeout;

use crate::commits::OnCommit;

use super::schema;
use crate::migrations::{PendingMigration, Upgrade};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// For every connection. Limits in milliseconds that the server enforces, so that no client future
/// ever has to be dropped for time; and no compiling of statements, which for ours takes a
/// hundred times longer than running them.
const SETTINGS: [(&str, &str); 5] = [
    ("jit", "off"),
    ("statement_timeout", "8000"),
    ("lock_timeout", "4000"),
    ("idle_in_transaction_session_timeout", "8000"),
    ("tcp_user_timeout", "8000"),
];

/// For statements that join a batch with the tables: on a young or badly estimated table the
/// planner would scan it, which costs a factor of 5 to 15. These leave it the plan by primary key.
const PINNED: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// Beside those, for reading the feed: in the order of an index and never by sorting all there is.
const ORDERED: [(&str, &str); 2] = [("enable_bitmapscan", "off"), ("enable_sort", "off")];

/// For connections that run migrations.
const UNHURRIED: [(&str, &str); 1] = [("statement_timeout", "0")];

/// The parameter of a URL that is ours and not the driver's.
const DISTRIBUTED: &str = "distributed";

/// Which database to open, and how.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    driver: PgConnectOptions,
    distributed: bool,
    upgrade: Upgrade,
    on_commit: Option<OnCommit>,
}

impl PostgresOptions {
    /// What a URL such as `postgres://saga:secret@db.example:5432/saga?sslmode=verify-full` names.
    /// With `distributed=true` among its parameters it says what [`PostgresOptions::distributed`]
    /// says.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when it is none; the message does not repeat the URL, which may
    /// hold a password.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut distributed, mut others) = (false, String::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                (DISTRIBUTED, "true") => distributed = true,
                (DISTRIBUTED, "false") => distributed = false,
                (DISTRIBUTED, value) => {
                    return Err(StoreError::Unusable(format!(
                        "the URL of the store says {DISTRIBUTED}={value}: expected true or false"
                    )));
                }
                _ => {
                    others.push(if others.is_empty() { '?' } else { '&' });
                    others.push_str(pair);
                }
            }
        }
        let driver = PgConnectOptions::from_str(&format!("{address}{others}"));
        let driver = driver.map_err(|error| {
            StoreError::Unusable(format!(
                "the URL of the store is not a PostgreSQL URL ({error}): expected postgres://user@host:5432/database"
            ))
        })?;
        Ok(Self { distributed, ..driver.into() })
    }

    /// Whether the tables are spread over machines by their column `bucket`: every statement of
    /// the hot path then stays within one bucket. Default: no, which is faster on one server. It
    /// changes nothing about the schema, and may differ between the processes on one database.
    #[must_use]
    pub fn distributed(self, distributed: bool) -> Self {
        Self { distributed, ..self }
    }

    /// The host of another machine that need not prove who it is, so that whoever stands between can
    /// read and change everything. Only `sslmode=verify-full` makes it.
    pub fn unproven_host(&self) -> Option<&str> {
        let proven = matches!(self.driver.get_ssl_mode(), PgSslMode::VerifyFull);
        let host = self.driver.get_host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let here = self.driver.get_socket().is_some()
            || host.is_empty()
            || host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (!proven && !here).then_some(host)
    }

    /// Whether opening may create the schema or bring it up to date. Default: it may.
    #[must_use]
    pub fn upgrade(self, upgrade: Upgrade) -> Self {
        Self { upgrade, ..self }
    }

    pub(super) fn may_upgrade(&self) -> Upgrade {
        self.upgrade
    }

    /// The migrations that the database lacks; nothing is changed.
    pub(crate) async fn pending(self) -> Result<Vec<PendingMigration>, StoreError> {
        schema::pending_at(&Connector::new(self)).await
    }

    /// Creates the schema or brings it up to date.
    pub(crate) async fn prepare(self) -> Result<(), StoreError> {
        schema::prepare(&Connector::new(self), Upgrade::Allowed).await.map(drop)
    }

    /// Who is told of every commit of starts or appends. Default: nobody.
    #[must_use]
    pub fn on_commit(self, on_commit: impl Into<Option<OnCommit>>) -> Self {
        Self { on_commit: on_commit.into(), ..self }
    }

    pub(super) fn is_distributed(&self) -> bool {
        self.distributed
    }

    /// The driver's options of a connection that starts sagas, and of one that appends: for the
    /// benches, which measure the same statements without the store.
    #[doc(hidden)]
    pub fn for_batches(self) -> [PgConnectOptions; 2] {
        let Connector { options, .. } = Connector::new(self);
        let options = options.options(SETTINGS);
        [options.clone(), options.options(PINNED)]
    }

    /// The driver's options of a connection that reads the feed: for tests of its plan.
    #[doc(hidden)]
    pub fn for_feed(self) -> PgConnectOptions {
        let [_, pinned] = self.for_batches();
        pinned.options(ORDERED)
    }
}

impl From<PgConnectOptions> for PostgresOptions {
    fn from(driver: PgConnectOptions) -> Self {
        Self { driver, distributed: false, upgrade: Upgrade::Allowed, on_commit: None }
    }
}

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    options: PgConnectOptions,
    pinned: bool,
    ordered: bool,
    on_commit: Option<OnCommit>,
}

impl Connector {
    pub(super) fn new(options: PostgresOptions) -> Self {
        Self {
            options: options.driver.application_name("saga").disable_statement_logging(),
            pinned: false,
            on_commit: options.on_commit,
            ordered: false,
        }
    }

    /// The same, for connections that run batch statements only.
    pub(super) fn pinned(&self) -> Self {
        Self { pinned: true, ..self.clone() }
    }

    /// The same, for connections that read the feed only.
    pub(super) fn ordered(&self) -> Self {
        Self { pinned: true, ordered: true, ..self.clone() }
    }

    /// Who is told of commits.
    pub(super) fn told_of_commits(&self) -> Option<&OnCommit> {
        self.on_commit.as_ref()
    }

    /// Where the server is, for people.
    pub(super) fn server(&self) -> String {
        match self.options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// The options of the driver, for its own listener.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        self.connect_within(CONNECT_MAX).await
    }

    /// A connection for those who cannot wait as long as others do.
    pub(super) async fn connect_within(&self, patience: Duration) -> Result<PgConnection, Error> {
        let mut options = self.options.clone().options(SETTINGS);
        if self.pinned {
            options = options.options(PINNED);
        }
        if self.ordered {
            options = options.options(ORDERED);
        }
        connected(options, patience.min(CONNECT_MAX)).await
    }

    /// A connection whose statements may take their time, as those that build an index do. They
    /// still wait for locks only as long as others do.
    pub(super) async fn connect_to_migrate(&self) -> Result<PgConnection, Error> {
        connected(self.options.clone().options(SETTINGS).options(UNHURRIED), CONNECT_MAX).await
    }
}

async fn connected(options: PgConnectOptions, within: Duration) -> Result<PgConnection, Error> {
    match timeout(within, options.connect()).await {
        Ok(connected) => connected,
        Err(_) => Err(Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no connection within {} ms", within.as_millis()),
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_elsewhere_that_need_not_prove_who_it_is_is_told() {
        for (url, unproven) in [
            ("postgres://saga@db.example/saga", Some("db.example")),
            ("postgres://saga@db.example/saga?sslmode=require", Some("db.example")),
            ("postgres://saga@10.1.2.3/saga?sslmode=verify-ca", Some("10.1.2.3")),
            ("postgres://saga@db.example/saga?sslmode=verify-full", None),
            ("postgres://saga@localhost/saga", None),
            ("postgres://saga@127.0.0.1:5433/saga", None),
            ("postgres://saga@[::1]/saga", None),
            ("postgres:///saga?host=/var/run/postgresql", None),
        ] {
            let options = PostgresOptions::from_url(url).unwrap();
            assert_eq!(options.unproven_host(), unproven, "{url}");
        }
    }
}
