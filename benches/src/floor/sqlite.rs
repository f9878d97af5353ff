//! The floor of SQLite: one connection on one thread, prepared statements, a commit per batch.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use rusqlite::{Connection, Statement, params};
use saga_store::SqliteOptions;

use super::rows::{Flight, Sagas, micros};
use super::{Run, Samples, StoreKind, Window};

/// The store keeps all sagas in one bucket.
const BUCKETS: u16 = 1;
/// Who owns the sagas.
const OWNER: [u8; 16] = [7; 16];

pub(super) fn run(run: &Run, file: &Path, window: Window) -> anyhow::Result<Samples> {
    let db = SqliteOptions::new(file).connect_to_write()?;
    let journal: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    ensure!(journal == "wal", "the store left its file with journal_mode={journal}, expected wal");
    let mut writer = Writer::new(&db)?;
    let mut sagas = Sagas::new(BUCKETS);
    let mut ready: VecDeque<Flight> = VecDeque::new();
    ready.resize_with(run.concurrency, || sagas.start(Instant::now()));
    let mut samples = Samples::new(window);
    let batch_max = run.batch_max(StoreKind::Sqlite);
    // Those that began in time are seen to their ends.
    while !ready.is_empty() {
        ensure!(Instant::now() < window.gives_up(), "sagas of the floor were never written");
        let batch = ready.len().min(batch_max);
        let at = micros();
        writer.begin.raw_execute()?;
        for flight in ready.iter().take(batch) {
            writer.write(run, flight, at)?;
        }
        writer.commit.raw_execute()?;
        // Whoever was in the batch may go on; those who were not are next in line.
        let now = Instant::now();
        for _ in 0..batch {
            let Some(mut flight) = ready.pop_front() else { break };
            flight.next += 1;
            if flight.next == run.rows.all.len() {
                samples.note(flight.begun, now);
                if now >= window.closes {
                    continue;
                }
                flight = sagas.start(now);
            }
            ready.push_back(flight);
        }
    }
    Ok(samples)
}

struct Writer<'a> {
    begin: Statement<'a>,
    start: Statement<'a>,
    append: Statement<'a>,
    log: Statement<'a>,
    commit: Statement<'a>,
}

impl<'a> Writer<'a> {
    fn new(db: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            begin: db.prepare("BEGIN IMMEDIATE")?,
            start: db.prepare(include_str!("../../../saga-store/src/sqlite/start.sql"))?,
            append: db.prepare(include_str!("../../../saga-store/src/sqlite/append.sql"))?,
            log: db.prepare(include_str!("../../../saga-store/src/sqlite/append_log.sql"))?,
            commit: db.prepare("COMMIT")?,
        })
    }

    fn write(&mut self, run: &Run, flight: &Flight, at: i64) -> anyhow::Result<()> {
        let row = &run.rows.all[flight.next];
        let (bucket, id, seq) = (flight.id.bucket().number(), flight.id.to_bytes(), flight.seq());
        let status = row.status.as_str();
        let ended_at = row.ends().then_some(at);
        let none: Option<i64> = None;
        let definition = &run.rows.definition;
        let digest = flight.digest();
        let changed = if flight.next == 0 {
            self.start.execute(params![
                bucket,
                id,
                definition.name,
                definition.version,
                definition.digest.as_bytes(),
                flight.key,
                digest,
                seq,
                0,
                OWNER,
                at,
                status,
                none,
                none,
                ended_at,
            ])?
        } else {
            self.append.execute(params![
                bucket,
                id,
                OWNER,
                0,
                seq,
                status,
                none,
                none,
                ended_at,
                row.ends(),
            ])?
        };
        ensure!(changed == 1, "row {seq} of saga {} changed {changed} rows", flight.id);
        self.log.execute(params![bucket, id, seq, 0, at, row.body, digest, status])?;
        Ok(())
    }
}
