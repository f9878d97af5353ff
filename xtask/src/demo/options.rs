//! The flags of the demo.

use std::fmt;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, ValueEnum};

use super::server;

const EXIT_CODES: &str = "\
Exit codes:
  0    every order has its verdict, no effect is lost, doubled or orphaned, the books balance
  1    a verdict or the books are wrong, or the demo could not be set up
  2    wrong usage
  130  interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP); nothing is left running";

/// How `cargo xtask demo` runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// How many orders to place.
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub orders: u32,

    /// Seed of the mix of orders and of the services' misbehaviour.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Where the services keep their books and the sagas their logs.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    pub store: Store,

    /// The PostgreSQL server to use, by the URL of a database whose user may create another one;
    /// the demo drops what it creates. Without this, SAGA_TEST_POSTGRES_URL names the server, and
    /// without that the demo runs one of its own from the installed programs.
    #[arg(long, value_name = "URL")]
    pub postgres_url: Option<String>,

    /// What the daemons run the sagas from. `yaml`: the program `saga-worker` by itself, with
    /// saga-examples/definitions/place-order.yaml. `rust`: a program that embeds the daemon, with
    /// saga-examples/src/place_order.rs. The API, the saga and the books are the same; the default
    /// is what needs no program of one's own.
    #[arg(long, value_enum, default_value_t = Definition::Yaml)]
    pub definition: Definition,

    /// How many daemons run the sagas at the same time, each with the HTTP API at a port of its own.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=32))]
    pub workers: u32,

    /// The port of the first daemon's API; the others take those after it. Without this the system
    /// gives each a free one.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// How many times to kill a daemon, any of them, with SIGKILL while sagas are alive; another one
    /// is started in its place.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub kills: u32,

    /// How badly the services misbehave: answers that are slow, lost, wrong, late or doubled.
    #[arg(long, value_enum, default_value_t = Faults::Mild)]
    pub faults: Faults,

    /// Keep the databases and logs, and say where they are; a demo that fails keeps them in any case.
    #[arg(long)]
    pub keep: bool,

    /// Print one JSON object as the last line of stdout; all else goes to stderr. Times in it are
    /// milliseconds (`p50_ms`, `p99_ms`: from start to verdict) and seconds (`elapsed_s`: from the
    /// first call to the last verdict).
    #[arg(long)]
    pub json: bool,

    /// Give up when no saga has moved for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 180,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub patience: u64,
}

/// What holds the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// A file per service and one for the sagas, shared by the workers.
    Sqlite,
    /// One PostgreSQL server.
    Postgres,
}

impl Store {
    /// The word that flags and the JSON object use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// Its name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// What the daemons run the sagas from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Definition {
    /// A file, read by `saga-worker`.
    Yaml,
    /// Code, in a program that embeds the daemon.
    Rust,
}

impl Definition {
    /// The word that flags and the JSON object use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Rust => "rust",
        }
    }

    /// Where it is written down.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Yaml => "saga-examples/definitions/place-order.yaml",
            Self::Rust => "saga-examples/src/place_order.rs",
        }
    }
}

/// How badly the services misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    /// Every service answers every call at once.
    Off,
    /// About one call in twenty goes wrong.
    Mild,
    /// About one call in four goes wrong.
    Wild,
}

impl Faults {
    /// The word that the services and the report use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Mild => "mild",
            Self::Wild => "wild",
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Options {
    /// Ends the process with a usage error (exit code 2) when the flags contradict each other.
    pub(crate) fn check_or_exit(&self) {
        if let Err(fault) = self.check() {
            let mut cli = crate::Cli::command();
            cli.build();
            let demo = cli.find_subcommand_mut("demo").expect("the demo is a command of the CLI");
            demo.error(ErrorKind::ValueValidation, fault).exit();
        }
    }

    /// How long no saga may move before the demo gives up.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    fn check(&self) -> Result<(), String> {
        if self.kills > self.orders {
            return Err(format!(
                "--kills {} is more than --orders {}: each kill needs an order in flight; \
                 place more orders or kill less often",
                self.kills, self.orders
            ));
        }
        if let Some(port) = self.port
            && u32::from(port) + self.workers - 1 > u32::from(u16::MAX)
        {
            return Err(format!(
                "--port {port} leaves no room for {} daemons: ports end at {}",
                self.workers,
                u16::MAX
            ));
        }
        match &self.postgres_url {
            Some(_) if self.store != Store::Postgres => {
                Err("--postgres-url is for --store postgres; add that flag, or leave this one out"
                    .to_owned())
            }
            Some(url) => server::parse("--postgres-url", url).map(drop),
            None => Ok(()),
        }
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
        let words = std::iter::once("demo").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
    }

    #[test]
    fn without_flags_two_hundred_orders_run_with_mild_faults_and_one_kill() {
        let options = parse("").unwrap();
        assert_eq!((options.orders, options.seed, options.kills), (200, 1, 1));
        assert_eq!((options.faults, options.store), (Faults::Mild, Store::Sqlite));
        assert_eq!((options.workers, options.definition), (1, Definition::Yaml));
        assert!(options.check().is_ok());
    }

    #[test]
    fn more_kills_than_orders_are_refused_with_the_reason() {
        let fault = parse("--orders 2 --kills 3").unwrap().check().unwrap_err();
        assert!(fault.contains("--kills 3 is more than --orders 2"), "{fault}");
    }

    #[test]
    fn ports_that_do_not_reach_for_all_daemons_are_refused() {
        assert!(parse("--port 65500 --workers 32").unwrap().check().is_ok());
        let fault = parse("--port 65510 --workers 32").unwrap().check().unwrap_err();
        assert!(fault.contains("--port 65510") && fault.contains("32 daemons"), "{fault}");
        assert!(parse("--port 0").is_err());
    }

    #[test]
    fn one_to_thirty_two_workers_may_run() {
        for workers in ["0", "33", "-1", "many"] {
            assert!(parse(&format!("--workers={workers}")).is_err(), "{workers}");
        }
        assert_eq!(parse("--workers 32").unwrap().workers, 32);
    }

    #[test]
    fn the_url_of_a_server_is_checked_and_never_repeated() {
        let check = |line: &str| parse(line).unwrap().check();
        assert_eq!(check("--store postgres --postgres-url postgres://saga:secret@db/x"), Ok(()));
        let without_store = check("--postgres-url postgres://db/x").unwrap_err();
        assert!(without_store.contains("--store postgres"), "{without_store}");
        for url in ["mysql://saga:secret@db/x", "secret", "postgres://saga:secret@db:port/x"] {
            let fault = check(&format!("--store postgres --postgres-url {url}")).unwrap_err();
            assert!(fault.contains("expected postgres://"), "{fault}");
            assert!(fault.contains("--postgres-url") && !fault.contains("secret"), "{fault}");
        }
    }

    #[test]
    fn no_orders_and_unknown_faults_are_refused() {
        assert!(parse("--orders 0").is_err());
        assert!(parse("--faults extreme").is_err());
    }
}
