//! Counters of SQLite, which keeps none that another connection could ask for: they are read from
//! the system and from the index of the write-ahead log.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Bytes that this process has written so far. Besides SQLite, hardly anything in it writes.
pub(super) fn written_bytes() -> Option<f64> {
    let counters = fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
}

/// Commits since the file was made, modulo 2^32, which no run reaches.
///
/// The file that ends in `-shm` begins with two copies of a header of 48 bytes; its third word
/// counts transactions (see "WAL-Index File Format" in SQLite's documentation). A writer changes
/// one copy after the other, so that copies which agree are whole.
pub(super) fn commits(file: &Path) -> Option<f64> {
    let mut name = OsString::from(file);
    name.push("-shm");
    // A writer changes the header once per commit, so one of a few looks meets it at rest.
    (0..100).find_map(|_| {
        let mut headers = [0; 96];
        File::open(&name).ok()?.read_exact(&mut headers).ok()?;
        let (one, other) = headers.split_at(48);
        let change = u32::from_ne_bytes(one[8..12].try_into().ok()?);
        (one == other).then_some(f64::from(change))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transaction_of_a_write_ahead_log_is_counted_also_across_its_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("counted.db");
        let db = rusqlite::Connection::open(&file).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.execute_batch("PRAGMA wal_autocheckpoint = 3; CREATE TABLE numbers (n)").unwrap();
        let before = commits(&file).unwrap();
        for n in 0..20 {
            let rows = format!("BEGIN; INSERT INTO numbers VALUES ({n}), (1); COMMIT");
            db.execute_batch(&rows).unwrap();
        }
        assert_eq!(commits(&file).unwrap() - before, 20.0);
    }
}
