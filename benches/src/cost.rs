//! What a run costs beside time: CPU, bytes written, commits. Counters of the system and of the
//! database are read when the run's window opens and when it closes.

mod cpu;
mod postgres;
mod sqlite;

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::anyhow;
use serde::Serialize;

use crate::database::Database;
use crate::load::Window;

/// The price of a saga. What cannot be told is left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Costs {
    /// CPU seconds of this process per 1,000 sagas, and of a daemon that works for it: the engine (or the
    /// floor's driver), and SQLite with it.
    pub(crate) engine_cpu_s_per_1000: Option<f64>,
    /// CPU seconds of all processes of the PostgreSQL server per 1,000 sagas.
    pub(crate) database_cpu_s_per_1000: Option<f64>,
    /// Bytes of PostgreSQL's write-ahead log per saga.
    pub(crate) wal_bytes_per_saga: Option<f64>,
    /// Bytes that SQLite wrote per saga: write-ahead log and checkpoints.
    pub(crate) written_bytes_per_saga: Option<f64>,
    /// Commits that wrote something, per saga.
    pub(crate) commits_per_saga: Option<f64>,
}

/// Reads the counters of one run, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Meter(JoinHandle<anyhow::Result<Spent>>);

impl Meter {
    /// `daemon`: the process that works for this one, if there is one.
    pub(crate) fn start(database: &Database, daemon: Option<u32>, window: Window) -> Self {
        let source = Source::of(database);
        Self(thread::spawn(move || {
            let mut counters = source.open()?;
            sleep_until(window.opens);
            let before = counters.read(&source, daemon)?;
            sleep_until(window.closes);
            Ok(counters.read(&source, daemon)?.since(before))
        }))
    }

    /// What was spent on so many sagas. Waits for the end of the window.
    pub(crate) fn per_saga(self, sagas: u64) -> anyhow::Result<Costs> {
        let spent =
            self.0.join().map_err(|_| anyhow!("the thread that reads counters panicked"))??;
        if sagas == 0 {
            return Ok(Costs::default());
        }
        let share = |total: Option<f64>| total.map(|total| total / sagas as f64);
        let Spent { engine_cpu_s, database_cpu_s, wal_bytes, written_bytes, commits } = spent;
        Ok(Costs {
            engine_cpu_s_per_1000: share(engine_cpu_s).map(|share| share * 1_000.0),
            database_cpu_s_per_1000: share(database_cpu_s).map(|share| share * 1_000.0),
            wal_bytes_per_saga: share(wal_bytes),
            written_bytes_per_saga: share(written_bytes),
            commits_per_saga: share(commits),
        })
    }
}

/// Counters at one moment, or their difference between two.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    engine_cpu_s: Option<f64>,
    database_cpu_s: Option<f64>,
    wal_bytes: Option<f64>,
    written_bytes: Option<f64>,
    commits: Option<f64>,
}

impl Spent {
    fn since(self, before: Self) -> Self {
        let less = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
        Self {
            engine_cpu_s: less(self.engine_cpu_s, before.engine_cpu_s),
            database_cpu_s: less(self.database_cpu_s, before.database_cpu_s),
            wal_bytes: less(self.wal_bytes, before.wal_bytes),
            written_bytes: less(self.written_bytes, before.written_bytes),
            commits: less(self.commits, before.commits),
        }
    }
}

/// Where the counters of a database are.
enum Source {
    Memory,
    Sqlite {
        file: PathBuf,
    },
    /// `server`: the process id of a server of our own.
    Postgres {
        url: String,
        server: Option<u32>,
    },
}

impl Source {
    fn of(database: &Database) -> Self {
        match (database.file(), database.url()) {
            (Some(file), _) => Self::Sqlite { file },
            (None, Some(url)) => Self::Postgres { url, server: database.server() },
            (None, None) => Self::Memory,
        }
    }

    fn open(&self) -> anyhow::Result<Counters> {
        Ok(match self {
            Self::Postgres { url, .. } => Counters::Postgres(postgres::Counters::open(url)?),
            Self::Memory | Self::Sqlite { .. } => Counters::Files,
        })
    }
}

enum Counters {
    /// All are in files.
    Files,
    Postgres(postgres::Counters),
}

impl Counters {
    fn read(&mut self, source: &Source, daemon: Option<u32>) -> anyhow::Result<Spent> {
        let engine_cpu_s = match daemon {
            None => cpu::own(),
            Some(pid) => cpu::own().zip(cpu::of_server(pid)).map(|(own, daemon)| own + daemon),
        };
        let spent = Spent { engine_cpu_s, ..Spent::default() };
        Ok(match (self, source) {
            (Self::Postgres(counters), Source::Postgres { server, .. }) => {
                let (wal_bytes, commits) = counters.read()?;
                let database_cpu_s = server.and_then(cpu::of_server);
                Spent {
                    database_cpu_s,
                    wal_bytes: Some(wal_bytes),
                    commits: Some(commits),
                    ..spent
                }
            }
            (_, Source::Sqlite { file }) => Spent {
                // A daemon writes, and not this process.
                written_bytes: sqlite::written_bytes().filter(|_| daemon.is_none()),
                commits: sqlite::commits(file),
                ..spent
            },
            (_, Source::Memory | Source::Postgres { .. }) => spent,
        })
    }
}

fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}
