//! What an error of a driver means to the callers of a store.
//!
//! Two drivers meet here: `rusqlite` runs the statements of the store, `sqlx` the migrations and
//! what a caller starts in a transaction of its own.

use std::fmt::Display;

use saga_core::store::StoreError;

/// Primary result codes of SQLite, as in its documentation.
const ERROR: u32 = 1;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const READONLY: u32 = 8;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const CONSTRAINT: u32 = 19;
const NOTADB: u32 = 26;

/// An error of a driver, as far as it matters here.
pub(super) trait Fault: Display {
    /// The primary result code: the low byte of the extended one.
    fn code(&self) -> Option<u32>;

    /// Whether a row was read, but holds something else than what was expected.
    fn is_unreadable(&self) -> bool;
}

impl Fault for rusqlite::Error {
    fn code(&self) -> Option<u32> {
        Some(self.sqlite_error()?.extended_code.unsigned_abs() & 0xff)
    }

    fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::FromSqlConversionFailure(..)
                | Self::IntegralValueOutOfRange(..)
                | Self::InvalidColumnType(..)
                | Self::InvalidColumnIndex(_)
                | Self::Utf8Error(..)
        )
    }
}

impl Fault for sqlx::Error {
    fn code(&self) -> Option<u32> {
        let code: u32 = self.as_database_error()?.code()?.parse().ok()?;
        Some(code & 0xff)
    }

    fn is_unreadable(&self) -> bool {
        matches!(
            self,
            Self::ColumnDecode { .. } | Self::Decode(_) | Self::ColumnIndexOutOfBounds { .. }
        )
    }
}

/// Sorts an error that came up while doing `what`.
pub(super) fn classify(what: impl Display, error: &impl Fault) -> StoreError {
    if error.is_unreadable() {
        return StoreError::Corrupt(format!("{what}: {error}"));
    }
    let Some(code) = error.code() else {
        return StoreError::Unavailable(format!("{what}: {error}"));
    };
    match code {
        NOTADB => StoreError::Unusable(format!("{what}: the file is not a SQLite database")),
        ERROR => StoreError::Unusable(format!(
            "{what}: {error}; the tables are not the ones this release works with"
        )),
        CORRUPT => StoreError::Corrupt(format!("{what}: {error}; restore the file from a backup")),
        CONSTRAINT => StoreError::Corrupt(format!("{what}: {error}; tables contradict each other")),
        FULL => StoreError::Unavailable(format!(
            "{what}: the disk, or the size allowed to the database, is full: make room"
        )),
        BUSY | LOCKED => StoreError::Unavailable(format!(
            "{what}: another process keeps the database locked: end what it is doing"
        )),
        _ => StoreError::Unavailable(format!("{what}: {error}")),
    }
}

/// Whether another connection is in the way.
pub(super) fn is_busy(error: &impl Fault) -> bool {
    matches!(error.code(), Some(BUSY | LOCKED))
}

/// Whether the file, or its folder, lets itself neither be opened nor written.
pub(super) fn is_barred(error: &impl Fault) -> bool {
    matches!(error.code(), Some(READONLY | CANTOPEN))
}
