//! The schema: which migrations there are, and bringing a database up to date.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, Error, SqlSafeStr, SqliteConnection};

use crate::migrations::{self, PendingMigration};

/// Where it is on record which migrations have run. Not the driver's default, because a caller
/// may keep tables, and migrations, of its own in the same database.
const TABLE: &str = "saga_migration";

/// The newest schema this release knows.
pub(super) const VERSION: i64 = 6;

/// Runs the migrations that are missing.
///
/// All in one transaction that holds the lock on the file from the start: of several processes
/// that open a new database at once, one migrates and the others find it done.
pub(super) async fn migrate(db: &mut SqliteConnection) -> Result<(), Error> {
    let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
    migrator().run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await
}

/// The migrations that are missing; nothing is changed.
pub(super) async fn pending(db: &mut SqliteConnection) -> Result<Vec<PendingMigration>, Error> {
    let tables: i64 = sqlx::query_scalar(include_str!("migrates.sql")).fetch_one(&mut *db).await?;
    let applied: Vec<(i64, Vec<u8>)> = match tables {
        0 => Vec::new(),
        _ => sqlx::query_as(include_str!("migrated.sql")).fetch_all(db).await?,
    };
    Ok(migrations::pending(&migrator(), &applied)?)
}

/// What a database lacks that does not exist.
pub(super) fn all() -> Result<Vec<PendingMigration>, MigrateError> {
    migrations::pending(&migrator(), &[])
}

fn migrator() -> Migrator {
    let simple = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let saga_log = include_str!("../../migrations/sqlite/0001_saga_log.sql");
    let narrow_indexes = include_str!("../../migrations/sqlite/0002_narrow_indexes.sql");
    let retention = include_str!("../../migrations/sqlite/0003_retention.sql");
    let feed = include_str!("../../migrations/sqlite/0004_feed.sql");
    let registers = include_str!("../../migrations/sqlite/0005_registers.sql");
    let audit = include_str!("../../migrations/sqlite/0006_audit.sql");
    let mut migrator = Migrator::with_migrations(vec![
        simple(1, "saga_log", saga_log),
        simple(2, "narrow_indexes", narrow_indexes),
        simple(3, "retention", retention),
        simple(4, "feed", feed),
        simple(5, "registers", registers),
        simple(VERSION, "audit", audit),
    ]);
    migrator.dangerous_set_table_name(TABLE);
    migrator
}
