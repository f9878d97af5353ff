//! A worker in a process of its own, for what only a process shows: its memory, and its death.

mod books;
mod serve;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::process::Process;

pub(crate) use books::{Books, check as check_books};
pub(crate) use serve::{STEPS, serve};

/// How long sagas may take to get where they are to get, for each thousand of them and at least.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a saga whose turn it is at the pivot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It goes through at once
    Finished,
    /// It is asked to come again in an hour, and so the worker lets go of it
    Sleeping,
    /// It is in a call that does not return
    Running,
}

impl Fate {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Sleeping => "sleeping",
            Self::Running => "running",
        }
    }
}

/// What a bench tells such a worker.
#[derive(Clone, Debug, Args)]
pub(crate) struct Served {
    /// The store
    #[arg(long)]
    url: String,

    /// What becomes of sagas at their pivot
    #[arg(long, value_enum)]
    fate: Fate,

    /// Most sagas driven at once
    #[arg(long)]
    concurrency_max: usize,

    /// How long after its last heartbeat others may take its sagas over
    #[arg(long)]
    lease_ms: u64,

    /// The participants' books, an SQLite file; without it they keep none
    #[arg(long)]
    books: Option<PathBuf>,
}

impl Served {
    /// A worker that keeps no books and has the lease of a worker by default.
    pub(crate) fn new(url: &str, fate: Fate, concurrency_max: usize) -> Self {
        Self { url: url.to_owned(), fate, concurrency_max, lease_ms: 10_000, books: None }
    }

    pub(crate) fn lease_ms(self, lease_ms: u64) -> Self {
        Self { lease_ms, ..self }
    }

    pub(crate) fn books(self, path: &Path) -> Self {
        Self { books: Some(path.to_owned()), ..self }
    }

    /// Starts the process, which writes its troubles to a file in `folder`, and waits until its
    /// worker is at work.
    pub(crate) async fn start(&self, folder: &Path) -> anyhow::Result<WorkerProcess> {
        let mut arguments: Vec<OsString> = vec!["worker-process".into()];
        let figures = [
            ("--url", self.url.clone()),
            ("--fate", self.fate.name().to_owned()),
            ("--concurrency-max", self.concurrency_max.to_string()),
            ("--lease-ms", self.lease_ms.to_string()),
        ];
        arguments.extend(figures.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        if let Some(books) = &self.books {
            arguments.extend(["--books".into(), books.into()]);
        }
        let program = std::env::current_exe()?;
        let mut process = Process::start("worker-process", &program, &arguments, folder)?;
        process.says("at work").await?;
        Ok(WorkerProcess(process))
    }
}

/// Such a worker, as the bench sees it; killed when dropped.
#[derive(Debug)]
pub(crate) struct WorkerProcess(Process);

impl WorkerProcess {
    /// Has it start `count` sagas with numbers from `first` on, and waits until each has got to its
    /// pivot and, where it goes through, to its verdict.
    pub(crate) async fn start_sagas(&mut self, first: u64, count: u64) -> anyhow::Result<()> {
        self.0.tell(&format!("start {first} {count}")).await?;
        let limit = PATIENCE + PATIENCE * u32::try_from(count / 1_000)?;
        let reached: u64 = self.0.says_within("reached", limit).await?.parse()?;
        ensure!(reached == count, "{count} sagas were to be started, and {reached} got on");
        Ok(())
    }

    /// Ends it with SIGKILL, and comes back when it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill().await
    }

    /// What it holds in memory, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        self.0.memory()
    }
}
