//! One daemon of the demo: which program it is, and what it runs the sagas from.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::build::Programs;
use super::options::{Definition, Options};
use super::process::{Launch, Process};
use crate::workspace;

/// The daemon by itself, which reads definitions from files.
const FROM_FILES: &str = "saga-worker";
/// The daemon in a program with the definition as code.
const EMBEDDED: &str = "order-worker";
/// The folder of the definitions, in the folder of the run.
const DEFINITIONS: &str = "definitions";
/// How the daemons speak of their address.
const LISTENING: &str = "listening on ";
const BANNER: &str = "API ";

/// Figures that let a demo see sagas change hands within its patience.
const LEASE_MS: u32 = 2_000;
const POLL_MS: u32 = 250;

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Its place among the daemons, from 0; one that takes its place gets its port.
    pub place: u32,
    /// Where its API is.
    pub url: String,
    pub process: Process,
}

/// How to start daemons of one run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    program: PathBuf,
    arguments: Vec<OsString>,
    ready: &'static str,
    environment: Option<(&'static str, String)>,
    port: Option<u16>,
    folder: PathBuf,
}

impl Recipe {
    /// Daemons on the store `sagas` that call these services, by name and URL.
    ///
    /// # Errors
    /// When a program or the definition is missing, or the folder cannot be written.
    pub(crate) fn new(
        options: &Options,
        programs: &Programs,
        folder: &Path,
        sagas: OsString,
        services: &[(&'static str, String)],
    ) -> anyhow::Result<Self> {
        let (program, arguments, ready) = match options.definition {
            Definition::Yaml => {
                let definitions = write_definition(folder, services)?;
                (FROM_FILES, from_files(sagas, definitions), BANNER)
            }
            Definition::Rust => (EMBEDDED, embedded(sagas, services), LISTENING),
        };
        Ok(Self {
            program: programs.path(program)?.to_owned(),
            arguments,
            ready,
            environment: None,
            port: options.port,
            folder: folder.to_owned(),
        })
    }

    /// The same with a variable in the environment of each daemon.
    pub(crate) fn with_environment(mut self, variable: Option<(&'static str, String)>) -> Self {
        self.environment = variable;
        self
    }

    /// Starts the daemon of a place under a name of its own, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the message says why.
    pub(crate) async fn start(self, place: u32, name: &str) -> anyhow::Result<Daemon> {
        let port = self.port.map_or(0, |first| first + u16::try_from(place).unwrap_or(u16::MAX));
        // The daemon would find it out too, and name a flag that the demo does not have.
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!("{name} cannot listen on 127.0.0.1:{port}: {error}; choose another --port");
        }
        let mut arguments = self.arguments;
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}").into()]);
        let launch = Launch {
            name,
            program: &self.program,
            arguments: &arguments,
            environment: self.environment,
            ready: self.ready,
        };
        let (process, said) = Process::start(launch, &self.folder).await?;
        Ok(Daemon { place, url: said.trim().to_owned(), process })
    }
}

fn from_files(sagas: OsString, definitions: PathBuf) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["serve".into(), "--store".into(), sagas];
    arguments.extend(["--definitions".into(), definitions.into()]);
    arguments.extend(["--worker-lease-ttl".into(), format!("{LEASE_MS}ms").into()]);
    arguments.extend(["--worker-poll-interval".into(), format!("{POLL_MS}ms").into()]);
    arguments.extend(["--log-filter".into(), "info,sqlx=warn,saga_worker=debug".into()]);
    arguments.push("--exit-with-stdin".into());
    arguments
}

fn embedded(sagas: OsString, services: &[(&'static str, String)]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--saga-database".into(), sagas];
    for (name, url) in services {
        arguments.extend([format!("--{name}").into(), url.into()]);
    }
    arguments.extend(["--lease-ms".into(), LEASE_MS.to_string().into()]);
    arguments.extend(["--poll-ms".into(), POLL_MS.to_string().into()]);
    arguments.push("--exit-with-stdin".into());
    arguments
}

/// Writes the definition of the examples into the folder of the run, with the services where they are
/// in this run; answers with the folder of the definitions.
fn write_definition(folder: &Path, services: &[(&'static str, String)]) -> anyhow::Result<PathBuf> {
    let original = workspace::root().join(Definition::Yaml.source());
    let text = std::fs::read_to_string(&original)
        .with_context(|| format!("could not read {}", original.display()))?;
    let text = located(&text, services)
        .with_context(|| format!("{} is not as the demo needs it", original.display()))?;
    let definitions = folder.join(DEFINITIONS);
    let written = std::fs::create_dir_all(&definitions)
        .and_then(|()| std::fs::write(definitions.join("place-order.yaml"), text));
    written.with_context(|| format!("could not write into {}", definitions.display()))?;
    Ok(definitions)
}

/// The text with the URLs of these participants; all else stays as it is.
fn located(text: &str, services: &[(&'static str, String)]) -> anyhow::Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, url) in services {
        let key = format!("  {name}: http");
        let line = lines.iter_mut().find(|line| line.starts_with(&key));
        let line = line.with_context(|| format!("no line begins with `{key}`"))?;
        *line = format!("  {name}: {url}");
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_urls_of_the_participants_change() {
        let text = "name: x\nparticipants:\n  points: http://127.0.0.1:8083\n  other: http://a\n";
        let changed = located(text, &[("points", "http://127.0.0.1:9".to_owned())]).unwrap();
        assert_eq!(changed, text.replace("8083", "9"));
    }

    #[test]
    fn a_participant_that_the_file_lacks_is_named() {
        let fault = located("name: x\n", &[("points", "http://a".to_owned())]).unwrap_err();
        assert!(fault.to_string().contains("`  points: http`"), "{fault}");
    }

    #[test]
    fn the_file_of_the_examples_has_every_service_of_the_demo() {
        let folder = tempfile::tempdir().unwrap();
        let services = ["inventory", "coupons", "points", "payments", "orders"];
        let services = services.map(|name| (name, format!("http://127.0.0.1:1/{name}")));
        let definitions = write_definition(folder.path(), &services).unwrap();
        let text = std::fs::read_to_string(definitions.join("place-order.yaml")).unwrap();
        assert!(services.iter().all(|(_, url)| text.contains(url)), "{text}");
        assert!(!text.contains("  points: http://127.0.0.1:808"), "{text}");
    }
}
