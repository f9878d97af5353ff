//! The schema: which migrations there are, and bringing a database up to date.

use std::time::Duration;

use saga_core::BUCKETS_MAX;
use saga_core::store::StoreError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error, SqlSafeStr};
use tokio::time::{Instant, sleep};

use super::connect::Connector;
use super::failure::{Remedy, classify, remedy};
use super::feed;
use crate::migrations::{self, PendingMigration, Upgrade, refused};

/// Where it is on record which migrations have run. Not the driver's default, because a caller
/// may keep tables, and migrations, of its own in the same database.
const TABLE: &str = "saga_migration";

/// The newest schema this release knows.
const VERSION: i64 = 6;

/// How long opening waits for a server that is not there yet.
const OPEN_WAIT_MAX: Duration = Duration::from_secs(10);

/// Checks the server, runs the migrations that are missing if that is allowed, and tells the number of
/// buckets.
pub(super) async fn prepare(connector: &Connector, upgrade: Upgrade) -> Result<u16, StoreError> {
    let (since, mut is_told) = (Instant::now(), false);
    loop {
        let error = match try_prepare(connector, upgrade).await {
            Ok(prepared) => return prepared,
            Err(error) => error,
        };
        let cause = cause(&error);
        let hopeless = matches!(remedy(cause), Remedy::Never | Remedy::Corrupt)
            || matches!(error, Error::Migrate(_));
        if hopeless && !is_race(cause) || since.elapsed() > OPEN_WAIT_MAX {
            return Err(explain(&error, connector));
        }
        if !std::mem::replace(&mut is_told, true) {
            let server = connector.server();
            tracing::warn!(server, error = %cause, "the database does not answer yet, trying again");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn try_prepare(
    connector: &Connector,
    upgrade: Upgrade,
) -> Result<Result<u16, StoreError>, Error> {
    let mut db = connector.connect().await?;
    if let Err(unusable) = check_server(&mut db).await? {
        return Ok(Err(unusable));
    }
    // A role that may change nothing could not even ask for what is there already.
    let pending = pending(&mut db).await?;
    match (pending.is_empty(), upgrade) {
        (true, _) => {}
        (false, Upgrade::Refused) => return Ok(Err(refused("the database", &pending))),
        (false, Upgrade::Allowed) => {
            let mut patient = connector.connect_to_migrate().await?;
            migrate(&mut patient).await?;
            drop(patient.close().await);
        }
    }
    feed::keep_ahead(&mut db).await?;
    let buckets: i64 = sqlx::query_scalar(include_str!("buckets.sql")).fetch_one(&mut db).await?;
    drop(db.close().await);
    let known = u16::try_from(buckets).ok().filter(|n| (1..=BUCKETS_MAX).contains(n));
    Ok(known.ok_or_else(|| {
        StoreError::Unusable(format!(
            "the database was set up with {buckets} buckets: expected 1 to {BUCKETS_MAX}"
        ))
    }))
}

async fn check_server(db: &mut PgConnection) -> Result<Result<(), StoreError>, Error> {
    let setting = "SELECT current_setting('server_version_num')::int8, current_setting('synchronous_commit'), current_setting('fsync')";
    let (version, commit, fsync): (i64, String, String) =
        sqlx::query_as(setting).fetch_one(db).await?;
    let unusable = |why: String| Ok(Err(StoreError::Unusable(why)));
    if version < 150_000 {
        return unusable(format!(
            "the server is PostgreSQL {}: expected 15 or newer",
            version / 10_000
        ));
    }
    if commit == "off" || fsync == "off" {
        return unusable(format!(
            "the server runs with synchronous_commit={commit} and fsync={fsync}, so it would answer before a commit is durable: turn both on"
        ));
    }
    Ok(Ok(()))
}

/// The migrations that are missing; nothing is changed.
async fn pending(db: &mut PgConnection) -> Result<Vec<PendingMigration>, Error> {
    let tables: i64 = sqlx::query_scalar(include_str!("migrates.sql")).fetch_one(&mut *db).await?;
    let applied: Vec<(i64, Vec<u8>)> = match tables {
        0 => Vec::new(),
        _ => sqlx::query_as(include_str!("migrated.sql")).fetch_all(db).await?,
    };
    Ok(migrations::pending(&migrator(), &applied)?)
}

/// As [`pending`], over a connection of its own.
pub(super) async fn pending_at(connector: &Connector) -> Result<Vec<PendingMigration>, StoreError> {
    let lacking = async {
        let mut db = connector.connect().await?;
        let pending = pending(&mut db).await?;
        drop(db.close().await);
        Ok(pending)
    };
    lacking.await.map_err(|error: Error| explain(&error, connector))
}

/// Runs what is missing, all in one transaction. Of several processes that meet a new database
/// at once, one wins and the others fail to create what it created; they try again and find it done.
async fn migrate(db: &mut PgConnection) -> Result<(), Error> {
    let mut transaction = db.begin().await?;
    migrator().run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await
}

fn migrator() -> Migrator {
    let simple = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let saga_log = include_str!("../../migrations/postgres/0001_saga_log.sql");
    let narrow_indexes = include_str!("../../migrations/postgres/0002_narrow_indexes.sql");
    let retention = include_str!("../../migrations/postgres/0003_retention.sql");
    let feed = include_str!("../../migrations/postgres/0004_feed.sql");
    let registers = include_str!("../../migrations/postgres/0005_registers.sql");
    let audit = include_str!("../../migrations/postgres/0006_audit.sql");
    let mut migrator = Migrator::with_migrations(vec![
        simple(1, "saga_log", saga_log),
        simple(2, "narrow_indexes", narrow_indexes),
        simple(3, "retention", retention),
        simple(4, "feed", feed),
        simple(5, "registers", registers),
        simple(VERSION, "audit", audit),
    ]);
    // No session locks: behind a transaction pooler, and on databases spread over machines, they
    // do not hold.
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}

/// Whether an error looks like another process having migrated at the same moment.
fn is_race(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| {
        matches!(&*code, "42P07" | "42704" | "23505" | "42710" | "40P01" | "40001")
    })
}

/// The driver's error inside a failed migration.
fn cause(error: &Error) -> &Error {
    if let Error::Migrate(migrate) = error
        && let MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) = &**migrate
    {
        return inner;
    }
    error
}

fn explain(error: &Error, connector: &Connector) -> StoreError {
    if let Error::Migrate(migrate) = error {
        match &**migrate {
            MigrateError::VersionMissing(version) => {
                return StoreError::Unusable(format!(
                    "the database has schema {version} of a newer release, and this one knows schemas up to {VERSION}: use the newer release"
                ));
            }
            MigrateError::VersionMismatch(version) => {
                return StoreError::Unusable(format!(
                    "the database was set up with another text of migration {version}: use the release that wrote it"
                ));
            }
            _ => {}
        }
    }
    classify(format_args!("opening the database at {}", connector.server()), cause(error))
}
