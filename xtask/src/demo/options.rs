//! The flags of the demo.

use std::fmt;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, ValueEnum};

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

    /// How many times to kill the worker with SIGKILL while sagas are alive.
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub kills: u32,

    /// How badly the services misbehave: answers that are slow, lost, wrong, late or doubled.
    #[arg(long, value_enum, default_value_t = Faults::Mild)]
    pub faults: Faults,

    /// Keep the databases and logs, and say where they are.
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
        Ok(())
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
        assert_eq!(options.faults, Faults::Mild);
        assert!(options.check().is_ok());
    }

    #[test]
    fn more_kills_than_orders_are_refused_with_the_reason() {
        let fault = parse("--orders 2 --kills 3").unwrap().check().unwrap_err();
        assert!(fault.contains("--kills 3 is more than --orders 2"), "{fault}");
    }

    #[test]
    fn no_orders_and_unknown_faults_are_refused() {
        assert!(parse("--orders 0").is_err());
        assert!(parse("--faults extreme").is_err());
    }
}
