//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

use super::keys;
use crate::config::{Faults, SETTINGS, Setting, Values};
use crate::outbound::AllowedHost;

/// Where a daemon is looked for.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:7878";

/// Runs sagas for services in any language, and shows and commands them.
#[derive(Debug, Parser)]
#[command(
    name = "saga-worker",
    version,
    after_help = "Exit codes:\n  0    done; the saga was completed\n  1    failed or refused\n  2    wrong usage\n  10   after waiting: the saga was compensated\n  11   after waiting: the saga was stopped\n  12   after waiting: the saga has no verdict yet\n  69   the daemon or the store cannot be reached\n  78   faulty configuration\n  130, 143   ended at once by a second Ctrl-C or SIGTERM"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Run the daemon.
    Serve(Settings),
    /// Bring the schema of the store up to date, as `serve` does by itself unless it has --no-migrate.
    Migrate(Migrate),
    /// Ask a daemon whether it is alive; for supervisors and containers.
    Health {
        #[command(flatten)]
        remote: Remote,
        /// Ask whether it takes requests: not during its drain, and not without its store.
        #[arg(long)]
        ready: bool,
    },
    /// Start a saga.
    Start(Start),
    /// Show a saga.
    Get {
        #[command(flatten)]
        remote: Remote,
        /// The saga's id.
        id: String,
        /// Wait so long for the verdict, such as 30s.
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
    },
    /// List sagas, newest first.
    List(List),
    /// List the workers and what they know.
    Workers(Remote),
    /// List the breakers of the daemon's worker: which participants are not called just now.
    Breakers(Remote),
    /// List webhooks, switch them on and off, deliver once more.
    Webhooks {
        #[command(subcommand)]
        action: WebhookAction,
    },
    /// Show who changed what through the API, or was refused, newest first.
    Audit(Audit),
    /// Give a command to every saga that a filter matches, and follow it to its end.
    Bulk(Bulk),
    /// Show what happened to a saga.
    Log {
        #[command(flatten)]
        remote: Remote,
        /// The saga's id.
        id: String,
        /// Only what came after this position.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many transitions.
        #[arg(long, default_value_t = 500)]
        limit: u32,
    },
    /// Follow a saga until its verdict, or all sagas until you stop.
    Watch(Watch),
    /// Try what failed again now, with a fresh budget of attempts.
    Retry(Give),
    /// Take a step, or its compensation, as settled without calling it.
    Skip {
        #[command(flatten)]
        command: Give,
        /// The step's name.
        #[arg(long)]
        step: String,
        #[command(flatten)]
        assumed: Assumed,
    },
    /// Force backward recovery before the pivot.
    Compensate(Give),
    /// Ask for backward recovery; refused once the pivot was handed out.
    Cancel(Give),
    /// Hand out no further call.
    Pause(Give),
    /// Go on after a pause.
    Resume(Give),
    /// Give up: the verdict lists the effects that remain.
    Stop(Give),
    /// Show the effective configuration of `serve` and where each value comes from.
    Config {
        #[command(flatten)]
        settings: Settings,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check definitions and do nothing else; every fault is shown with its line and column.
    Check {
        /// Folder of the *.yaml files.
        folder: PathBuf,
        /// Private hosts that every definition may call, separated by commas.
        #[arg(long, env = "SAGA_ALLOW_HOSTS", value_delimiter = ',', value_name = "HOSTS")]
        allow_hosts: Vec<AllowedHost>,
        /// The faults as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the definitions, for editors.
    Schema,
    /// Make API keys.
    Keys {
        #[command(subcommand)]
        action: keys::Action,
    },
    /// Print the API as an OpenAPI document.
    Openapi,
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Which daemon is asked, and how its answer is shown.
#[derive(Debug, Clone, Args)]
pub(super) struct Remote {
    /// Address of the daemon.
    #[arg(long, env = "SAGA_URL", default_value = DEFAULT_URL)]
    pub(super) url: String,
    /// API key, sk_<id>_<secret>. Better in the environment than on the command line.
    #[arg(long, env = "SAGA_API_KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// Certificates in PEM of the authorities to believe, for https. Default: those of the system.
    #[arg(long, env = "SAGA_CA", value_name = "PATH")]
    pub(super) ca: Option<PathBuf>,
    /// Certificate and private key in PEM, in one file, for a daemon that asks its clients for one.
    #[arg(long, env = "SAGA_CLIENT_CERT", value_name = "PATH")]
    pub(super) client_cert: Option<PathBuf>,
    /// Show JSON as the API gives it.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    pub(super) settings: Settings,
    /// Change nothing: list what is missing, and fail with code 1 if anything is.
    #[arg(long, visible_alias = "dry-run")]
    pub(super) check: bool,
    /// With --check, the statements as well.
    #[arg(long, requires = "check")]
    pub(super) sql: bool,
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Start {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// The definition's name.
    pub(super) name: String,
    /// Its input as JSON; `@path` reads a file, `-` standard input.
    #[arg(default_value = "null")]
    pub(super) input: String,
    /// Idempotency key: repeating the start with it gives the same saga.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Id of the saga instead of one made by the daemon: a UUID of version 7 that ends in 000.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Version of the definition instead of the newest.
    #[arg(long)]
    pub(super) version: Option<u32>,
    /// Wait so long for the verdict, such as 30s.
    #[arg(long, value_name = "DURATION")]
    pub(super) wait: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// The saga's id.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(super) id: Option<String>,
    /// Follow all sagas.
    #[arg(long)]
    pub(super) all: bool,
    /// Begin after this position; with --all: a cursor, `beginning`, or `now`, which is the default.
    #[arg(long)]
    pub(super) after: Option<String>,
    /// With --all: only this definition.
    #[arg(long, requires = "all")]
    pub(super) name: Option<String>,
    /// With --all: only sagas under this idempotency key.
    #[arg(long, requires = "all")]
    pub(super) key: Option<String>,
    /// With --all: only transitions into these statuses, separated by commas.
    #[arg(long, requires = "all")]
    pub(super) status: Option<String>,
    /// With --all: only transitions with such events, separated by commas.
    #[arg(long, requires = "all", value_name = "EVENTS")]
    pub(super) event: Option<String>,
    /// With --all: only what ends a saga.
    #[arg(long, requires = "all", conflicts_with = "event")]
    pub(super) verdicts: bool,
}

/// Which sagas are meant.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only these statuses, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(super) status: Vec<String>,
    /// Only this definition.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Only this version of it.
    #[arg(long)]
    pub(super) version: Option<u32>,
    /// Only sagas that wait at this step, or are stuck there; with `bulk skip` the step to skip too.
    #[arg(long)]
    pub(super) step: Option<String>,
    /// Only idempotency keys that begin like this.
    #[arg(long, value_name = "TEXT")]
    pub(super) key_prefix: Option<String>,
    /// Only with this text in id, definition, key or the reason why they wait, whatever the case.
    #[arg(long)]
    pub(super) text: Option<String>,
    /// Only sagas started within this time, such as 2h.
    #[arg(long, value_name = "DURATION")]
    pub(super) since: Option<String>,
    /// Only sagas started longer ago than this, such as 15m.
    #[arg(long, value_name = "DURATION")]
    pub(super) until: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) remote: Remote,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Only this idempotency key.
    #[arg(long)]
    pub(super) key: Option<String>,
    /// Only those before this saga.
    #[arg(long, value_name = "ID")]
    pub(super) before: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(super) limit: Option<u32>,
}

/// Which entries of the audit trail are shown.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// Only of the API key of this id.
    #[arg(long)]
    pub(super) actor: Option<String>,
    /// Only this action, such as saga.stop.
    #[arg(long)]
    pub(super) action: Option<String>,
    /// Only to this saga, bulk, webhook or definition.
    #[arg(long)]
    pub(super) target: Option<String>,
    /// Only within this time, such as 2h.
    #[arg(long, value_name = "DURATION")]
    pub(super) since: Option<String>,
    /// Only longer ago than this, such as 15m.
    #[arg(long, value_name = "DURATION")]
    pub(super) until: Option<String>,
    /// Only those before this entry.
    #[arg(long, value_name = "ID")]
    pub(super) before: Option<String>,
    /// At most so many.
    #[arg(long)]
    pub(super) limit: Option<u32>,
}

/// A command in bulk, or what to do about one.
#[derive(Debug, Args)]
pub(super) struct Bulk {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// retry, skip, compensate, cancel, pause, resume or stop; `list`, or `show` or `end` with an id.
    pub(super) command: String,
    /// `show`, `end`: the bulk's id.
    pub(super) id: Option<String>,
    /// Why; it is kept in the log of every saga.
    #[arg(long, default_value = "")]
    pub(super) reason: String,
    /// Who asks. Default: the name of this account.
    #[arg(long, env = "USER")]
    pub(super) actor: Option<String>,
    /// Show what would get the command, and give none.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Sagas for each second.
    #[arg(long)]
    pub(super) rate: Option<u32>,
    /// Repeating it with this key is the same bulk.
    #[arg(long)]
    pub(super) key: Option<String>,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// Every saga there is, instead of a filter.
    #[arg(long)]
    pub(super) all: bool,
    /// `skip`: what to take for granted: {"processed": <output>}, "no_effect", "compensated" or
    /// "effect_remains".
    #[arg(long, value_name = "JSON")]
    pub(super) assume: Option<String>,
}

/// What to do about webhooks.
#[derive(Debug, Subcommand)]
pub(super) enum WebhookAction {
    /// List the webhooks and how they stand
    List(Remote),
    /// Switch a webhook on again; what waits is tried at once
    Enable(WebhookCommand),
    /// Switch a webhook off; it keeps its place
    Disable(WebhookCommand),
    /// Deliver once more: of one saga, or everything after a place in the feed
    Replay {
        #[command(flatten)]
        command: WebhookCommand,
        /// The verdict of this saga, and that it was stuck.
        #[arg(
            long,
            value_name = "ID",
            required_unless_present = "after",
            conflicts_with = "after"
        )]
        saga: Option<String>,
        /// Everything after this cursor of the feed, or `beginning`; `now` leaves out what waits.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
}

/// A command to a webhook.
#[derive(Debug, Args)]
pub(super) struct WebhookCommand {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// The webhook's name.
    pub(super) name: String,
    /// Why; it is kept in the daemon's log.
    #[arg(long)]
    pub(super) reason: String,
}

/// A command to a saga.
#[derive(Debug, Args)]
pub(super) struct Give {
    #[command(flatten)]
    pub(super) remote: Remote,
    /// The saga's id.
    pub(super) id: String,
    /// Why; it is kept in the log.
    #[arg(long)]
    pub(super) reason: String,
    /// Who asks. Default: the name of this account.
    #[arg(long, env = "USER")]
    pub(super) actor: Option<String>,
    /// Repeating the command with this request id has no further effect.
    #[arg(long)]
    pub(super) request_id: Option<String>,
    /// Only if the saga still stands at this log position.
    #[arg(long, value_name = "SEQ")]
    pub(super) if_seq: Option<u64>,
}

/// What a skipped call is taken to have done.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Assumed {
    /// The action happened, with this output as JSON.
    #[arg(long, value_name = "OUTPUT")]
    pub(super) processed: Option<String>,
    /// The action had and will have no effect.
    #[arg(long)]
    pub(super) no_effect: bool,
    /// The compensation has been done by other means.
    #[arg(long)]
    pub(super) compensated: bool,
    /// The compensation is left out and the effect remains.
    #[arg(long)]
    pub(super) effect_remains: bool,
}

/// The flags of `serve`, made from the table of settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) file: Option<PathBuf>,
    pub(super) flags: Vec<(&'static Setting, String)>,
}

impl Settings {
    /// All settings there are now, these flags on top.
    pub(super) fn gather(&self) -> Result<Values, Faults> {
        Values::gather(self.file.as_deref(), std::env::vars(), self.flags.clone())
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config").long("config").value_name("PATH");
        let file = file.help("TOML file of the settings below [env: SAGA_CONFIG]");
        let file = file.value_parser(clap::value_parser!(PathBuf));
        SETTINGS.iter().fold(command.arg(file), |command, setting| {
            let fallback = match setting.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let help = format!("{}{fallback} [env: {}]", setting.about, setting.variable());
            let argument = Arg::new(setting.key).long(setting.flag()).help(help);
            command.arg(
                match setting.form {
                    "BOOL" => {
                        argument.num_args(0..=1).default_missing_value("true").require_equals(true)
                    }
                    _ => argument,
                }
                .value_name(setting.form),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            Some((setting, matches.get_one::<String>(setting.key)?.clone()))
        };
        let file = matches.get_one::<PathBuf>("config").cloned();
        Ok(Self { file, flags: SETTINGS.iter().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
