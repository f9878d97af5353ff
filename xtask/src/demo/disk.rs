//! Watches for a full disk, which SQLite reports in many places and never plainly.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// What a database needs at the least to go on; less free space than this is a full disk.
const PROBE_BYTES: usize = 256 * 1024;

/// Whether the disk that holds `folder` has no room for the databases any more.
pub(crate) fn is_full(folder: &Path) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    probe(folder).is_err_and(|error| full.contains(&error.kind()))
}

/// What happened and what to do about it.
pub(crate) fn full_message(folder: &Path) -> String {
    format!(
        "the disk that holds {} is full, so the services could not write; nothing is left running; \
         free some space there or point TMPDIR to another disk, then run the demo again",
        folder.display()
    )
}

/// Writes a little and takes it away again.
fn probe(folder: &Path) -> io::Result<()> {
    let path = folder.join("free-space-probe");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; PROBE_BYTES])?;
        file.sync_all()
    });
    std::fs::remove_file(&path).ok();
    written
}
