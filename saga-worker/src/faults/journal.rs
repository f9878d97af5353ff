//! The journal of calls: one line each, in a file that all workers of a soak share.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::OnceLock;

use saga_core::{StepContext, Timestamp};

/// Notes a call that is about to be made, if a journal is kept.
pub(super) fn note(context: &StepContext, epoch: u64, now: Timestamp) {
    static JOURNAL: OnceLock<Option<File>> = OnceLock::new();
    let Some(mut journal) = JOURNAL.get_or_init(open).as_ref() else { return };
    let StepContext { saga_id, step, op, attempt, .. } = context;
    let (at, pid) = (now.as_micros(), std::process::id());
    let line = format!("{at} {pid} {saga_id} {step} {op} {attempt} {epoch}\n");
    // One write per line, so that processes do not mix theirs.
    if let Err(error) = journal.write_all(line.as_bytes()) {
        tracing::error!(%error, "cannot write the journal of calls");
    }
}

fn open() -> Option<File> {
    let path = std::env::var_os("SAGA_CALL_JOURNAL")?;
    match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            eprintln!("error: SAGA_CALL_JOURNAL `{}`: {error}", path.display());
            std::process::exit(2)
        }
    }
}
