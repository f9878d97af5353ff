//! The command line: [`run`] is the whole of the binary, for programs with Rust steps of their own.

mod arguments;
mod audit;
mod bulk;
mod check;
mod files;
mod keys;
mod migrate;
mod notify;
mod reload;
mod remote;
mod serve;
mod show;
mod signals;
mod terminal;
mod watch;
mod ways_out;
mod webhooks;

use std::fmt;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use saga_core::{Definition, Status};

use crate::config::Faults;
use crate::declared;
use crate::openapi;
use arguments::{Action, Arguments};

/// How the program ends; `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Failed = 1,
    Compensated = 10,
    Stopped = 11,
    NoVerdict = 12,
    Unavailable = 69,
    Misconfigured = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
struct Stop {
    code: Code,
    message: String,
}

impl Stop {
    fn failed(message: impl fmt::Display) -> Self {
        Self { code: Code::Failed, message: message.to_string() }
    }

    fn unavailable(message: impl fmt::Display) -> Self {
        Self { code: Code::Unavailable, message: message.to_string() }
    }

    fn misconfigured(message: impl fmt::Display) -> Self {
        Self { code: Code::Misconfigured, message: message.to_string() }
    }
}

impl From<Faults> for Stop {
    fn from(faults: Faults) -> Self {
        Self::misconfigured(faults)
    }
}

/// Runs `saga-worker` with the arguments of this process; `serve` runs these definitions.
///
/// ```no_run
/// use saga_core::{Definition, Failure, Step};
///
/// async fn capture() -> Result<(), Failure> { Ok(()) }
///
/// fn main() -> std::process::ExitCode {
///     let pay = Definition::new("pay", [Step::pivot("capture", capture)]);
///     saga_daemon::cli::run(vec![pay.expect("it is well-formed")])
/// }
/// ```
pub fn run(definitions: Vec<Definition>) -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("saga-worker: the asynchronous runtime cannot start: {error}");
            return Code::Failed.into();
        }
    };
    match runtime.block_on(act(arguments.action, definitions)) {
        Ok(code) => code,
        Err(stop) => {
            eprintln!("saga-worker: {}", terminal::lines(&stop.message));
            stop.code.into()
        }
    }
}

async fn act(action: Action, definitions: Vec<Definition>) -> Result<ExitCode, Stop> {
    match action {
        Action::Serve(settings) => serve::serve(settings, definitions).await,
        Action::Migrate(migrate) => migrate::migrate(&migrate).await,
        Action::Health { remote, ready } => remote::health(&remote, ready).await,
        Action::Config { settings, json } => {
            let values = settings.gather()?;
            show::config(&values, json);
            values.read()?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Check { folder, allow_hosts, json } => check::check(&folder, allow_hosts, json),
        Action::Schema => {
            println!("{:#}", declared::schema());
            Ok(ExitCode::SUCCESS)
        }
        Action::Keys { action } => keys::act(&action),
        Action::Openapi => {
            println!("{:#}", openapi::document(openapi::Keys::Asked));
            Ok(ExitCode::SUCCESS)
        }
        Action::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "saga-worker", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Action::Watch(what) => watch::watch(&what).await,
        Action::Start(start) => remote::start(&start).await,
        Action::Get { remote, id, wait } => remote::get(&remote, &id, wait.as_deref()).await,
        Action::List(list) => remote::list(&list).await,
        Action::Workers(remote) => remote::workers(&remote).await,
        Action::Breakers(remote) => remote::breakers(&remote).await,
        Action::Audit(asked) => audit::list(&asked).await,
        Action::Bulk(bulk) => bulk::act(&bulk).await,
        Action::Webhooks { action } => webhooks::act(&action).await,
        Action::Log { remote, id, after, limit } => remote::log(&remote, &id, after, limit).await,
        Action::Retry(command) => remote::command("retry", &command).await,
        Action::Skip { command, step, assumed } => remote::skip(&command, &step, &assumed).await,
        Action::Compensate(command) => remote::command("compensate", &command).await,
        Action::Cancel(command) => remote::command("cancel", &command).await,
        Action::Pause(command) => remote::command("pause", &command).await,
        Action::Resume(command) => remote::command("resume", &command).await,
        Action::Stop(command) => remote::command("stop", &command).await,
    }
}

/// The exit code of a command that waited for a verdict.
fn by_verdict(status: Status) -> ExitCode {
    match status {
        Status::Completed => ExitCode::SUCCESS,
        Status::Compensated => Code::Compensated.into(),
        Status::Stopped => Code::Stopped.into(),
        Status::Running | Status::Compensating | Status::Stuck => Code::NoVerdict.into(),
    }
}
