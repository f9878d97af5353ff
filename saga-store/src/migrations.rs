//! Which migrations a database lacks, and whether opening it may run them.

use saga_core::store::StoreError;
use sqlx::migrate::{MigrateError, Migrator};

/// Whether opening a store may change its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// It is created or brought up to date where needed.
    #[default]
    Allowed,
    /// A schema that is not the one of this release is refused: for a role that may not change it,
    /// where [`migrate`](crate::migrate) is run by another.
    Refused,
}

/// A migration that a database lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingMigration {
    /// Its number.
    pub version: i64,
    /// What it is called.
    pub name: String,
    /// Its statements.
    pub sql: String,
}

/// What a database lacks, given the versions and checksums that are on record there.
pub(crate) fn pending(
    migrator: &Migrator,
    applied: &[(i64, Vec<u8>)],
) -> Result<Vec<PendingMigration>, MigrateError> {
    for (version, checksum) in applied {
        let known = migrator.iter().find(|migration| migration.version == *version);
        let known = known.ok_or(MigrateError::VersionMissing(*version))?;
        if *known.checksum != **checksum {
            return Err(MigrateError::VersionMismatch(*version));
        }
    }
    let lacking = migrator
        .iter()
        .filter(|migration| !applied.iter().any(|(version, _)| *version == migration.version));
    let pending = lacking.map(|migration| PendingMigration {
        version: migration.version,
        name: migration.description.to_string(),
        sql: migration.sql.as_str().to_owned(),
    });
    Ok(pending.collect())
}

/// Why a database is not opened that would have to be migrated first.
pub(crate) fn refused(what: impl std::fmt::Display, pending: &[PendingMigration]) -> StoreError {
    let names: Vec<_> =
        pending.iter().map(|one| format!("{:04}_{}", one.version, one.name)).collect();
    StoreError::Unusable(format!(
        "{what} lacks {} of this release and may not be changed by this process: run `saga-worker migrate` first, as a role that may",
        names.join(", ")
    ))
}
