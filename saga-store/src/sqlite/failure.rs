//! What an error of the driver means to the callers of a store.

use std::fmt::Display;

use saga_core::store::StoreError;
use sqlx::Error;

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

/// Sorts an error that came up while doing `what`.
pub(super) fn classify(what: impl Display, error: &Error) -> StoreError {
    let unreadable = matches!(
        error,
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::ColumnIndexOutOfBounds { .. }
    );
    if unreadable {
        return StoreError::Corrupt(format!("{what}: {error}"));
    }
    let Some(code) = code(error) else {
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
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(code(error), Some(BUSY | LOCKED))
}

/// Whether the file, or its folder, lets itself neither be opened nor written.
pub(super) fn is_barred(error: &Error) -> bool {
    matches!(code(error), Some(READONLY | CANTOPEN))
}

/// The primary result code: the low byte of the extended one.
fn code(error: &Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
