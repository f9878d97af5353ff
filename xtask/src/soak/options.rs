//! The flags of the soak.

use std::time::Duration;

use clap::{Args, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    no invariant was violated, and every crash point was hit often enough
  1    a violation was found, or the soak could not be set up or brought to an end
  2    wrong usage
  130  interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP); nothing is left running";

/// How `cargo xtask soak` runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// Where the sagas and the books of the participants are kept.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    pub store: StoreKind,

    /// How many worker processes share the sagas.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,

    /// Go on until so many workers have been killed with SIGKILL.
    #[arg(long, value_name = "K", default_value_t = 200)]
    pub kills: u64,

    /// Go on for so many minutes, instead of counting kills.
    #[arg(long, value_name = "M", conflicts_with = "kills")]
    pub minutes: Option<u64>,

    /// Go on until every crash point was hit so often; the soak fails where it cannot be reached.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub hits: u64,

    /// Seed of the orders and of the choice of faults. What the processes make of them is up to
    /// the machine.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// How many sagas are alive at the same time, about.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub in_flight: u32,

    /// How long a worker's lease lasts, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 800,
          value_parser = clap::value_parser!(u64).range(200..=60_000))]
    pub lease_ms: u64,

    /// How long after their verdicts workers delete sagas, in milliseconds, but never before the soak has
    /// put them aside.
    #[arg(long, value_name = "MS", default_value_t = 6_000,
          value_parser = clap::value_parser!(u64).range(1_000..))]
    pub retention_ms: u64,

    /// Plant this bug in the processes; the soak must then fail.
    #[arg(long, value_enum)]
    pub plant: Option<Plant>,

    /// Give up when the sagas have no verdicts so many seconds after the last fault.
    #[arg(long, value_name = "SECONDS", default_value_t = 90,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub patience: u64,

    /// Keep the databases and logs, and say where they are.
    #[arg(long)]
    pub keep: bool,

    /// Print one JSON object as the last line of stdout; all else goes to stderr.
    #[arg(long)]
    pub json: bool,
}

/// What keeps the sagas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// One file that all workers share, and one for each participant.
    Sqlite,
    /// A server of its own, behind a proxy that cuts and silences connections.
    Postgres,
}

/// A bug that the soak has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// The store takes appends of workers that no longer own the saga.
    NoFence,
    /// The barrier forgets that a compensation came before its action.
    NoTombstone,
    /// The barrier does not recognise a call that came before.
    NoIdempotencyKey,
    /// The store says now and then that it has stored what it has not.
    CommitLies,
    /// The store keeps a refusal where a command was carried out.
    WrongAnswer,
    /// The saga of an order starts in another transaction than the one that writes the order.
    StartApart,
    /// Retention deletes sagas as soon as they have ended.
    ForgetsEarly,
    /// The store says that a worker's lease is handed back, and keeps it.
    KeepsLease,
}

impl StoreKind {
    /// The word of the flag.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl Plant {
    /// The word of the flag, which is also what arms the processes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::NoTombstone => "no-tombstone",
            Self::NoIdempotencyKey => "no-idempotency-key",
            Self::CommitLies => "commit-lies",
            Self::WrongAnswer => "wrong-answer",
            Self::StartApart => "start-apart",
            Self::ForgetsEarly => "forgets-early",
            Self::KeepsLease => "keeps-lease",
        }
    }
}

impl Options {
    /// How long a lease lasts.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How long sagas are kept.
    pub(crate) fn retention(&self) -> Duration {
        Duration::from_millis(self.retention_ms)
    }

    /// How long after the last fault verdicts may take.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("soak").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn without_flags_four_workers_on_sqlite_are_killed_two_hundred_times() {
        let options = parse("").unwrap();
        assert_eq!((options.store, options.workers), (StoreKind::Sqlite, 4));
        assert_eq!((options.kills, options.hits, options.minutes), (200, 1, None));
        assert_eq!(options.plant, None);
    }

    #[test]
    fn a_soak_goes_by_kills_or_by_minutes_and_not_by_both() {
        assert_eq!(parse("--minutes 30").unwrap().minutes, Some(30));
        assert!(parse("--minutes 30 --kills 10").is_err());
    }

    #[test]
    fn plants_are_named_as_the_processes_know_them() {
        for plant in Plant::value_variants() {
            let parsed = parse(&format!("--plant {}", plant.word())).unwrap();
            assert_eq!(parsed.plant, Some(*plant));
        }
        assert!(parse("--plant no-sense").is_err());
    }
}
