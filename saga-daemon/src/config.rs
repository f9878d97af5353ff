//! The configuration of `serve`: defaults, then a TOML file, then `SAGA_*`, then flags; the last
//! one that names a setting counts. Every fault is named at once.

mod otlp;
mod settings;
mod standard;
mod webhooks;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use saga_store::Upgrade;
use serde::Deserialize;

pub(crate) use settings::{SETTINGS, Setting, nearest};

use crate::access::{ApiKey, ApiKeys};
use crate::declared::{self, SecretSource};
use crate::otlp::OtlpConfig;
use crate::outbound::{AllowHosts, AllowedHost};
use crate::request::parse_duration;
use crate::service::Limits;
use crate::tls::TlsFiles;
use crate::webhooks::Webhooks;

/// Variables of the environment that are no settings of `serve`.
const OTHER_VARIABLES: [&str; 5] =
    ["SAGA_CONFIG", "SAGA_URL", "SAGA_API_KEY", "SAGA_CA", "SAGA_CLIENT_CERT"];

/// Stands where a secret was.
const MASKED: &str = "***";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Every setting with its value as text and its origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<&'static str, (String, Origin)>, webhooks::Given);

/// What `serve` runs by.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) store: String,
    pub(crate) store_is_default: bool,
    pub(crate) listen: SocketAddr,
    /// The folder of the definitions.
    pub(crate) definitions: Option<PathBuf>,
    /// What they may do here.
    pub(crate) declared: declared::Options,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) insecure: Insecure,
    pub(crate) keys: ApiKeys,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) upgrade: Upgrade,
    pub(crate) worker: WorkerConfig,
    pub(crate) limits: Limits,
    pub(crate) log: LogConfig,
    pub(crate) otlp: OtlpConfig,
    pub(crate) stdin: WithStdin,
    pub(crate) webhooks: Webhooks,
    /// How long entries of the audit trail are kept; `None` for ever.
    pub(crate) audit_retention: Option<Duration>,
}

/// Whether the end of standard input is the end of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithStdin {
    GoesOn,
    Ends,
}

/// Whether an address that others reach is served without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insecure {
    No,
    Yes,
}

#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) name: Option<String>,
    pub(crate) concurrency_max: usize,
    pub(crate) lease_ttl: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) drain_timeout: Duration,
    /// How long a saga is kept after its verdict; `None` for ever.
    pub(crate) retention: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Pretty,
    Json,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|fault| format!("  {fault}")).collect();
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "the configuration has {} fault{plural}:\n{}", self.0.len(), lines.join("\n"))
    }
}

impl Values {
    /// Puts the layers on top of each other.
    pub(crate) fn gather(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Vec<(&'static Setting, String)>,
    ) -> Result<Self, Faults> {
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let (mut values, mut faults) = (Self::default(), Faults::default());
        for setting in SETTINGS {
            values.0.insert(setting.key, (setting.default_value(&environment), Origin::Default));
        }
        let file =
            file.map(Path::to_owned).or_else(|| Some(environment.get("SAGA_CONFIG")?.into()));
        if let Some(path) = file {
            values.lay_file(&path, &mut faults);
        }
        for (setting, value, name) in standard::read(&environment, &mut faults) {
            values.set(setting, value, Origin::Environment(name.to_owned()));
        }
        for (name, value) in environment.into_iter().filter(|(name, _)| is_ours(name)) {
            match SETTINGS.iter().find(|setting| setting.variable() == name) {
                Some(setting) => values.set(setting, value, Origin::Environment(name)),
                None => {
                    let known: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
                    let near = nearest(&name, known.iter().map(String::as_str));
                    faults.0.push(format!("{name} is no setting{near}"));
                }
            }
        }
        for (setting, value) in flags {
            values.set(setting, value, Origin::Flag(format!("--{}", setting.flag())));
        }
        if faults.0.is_empty() {
            return Ok(values);
        }
        // What is wrong with the settings that there are is told beside those that there are not.
        faults.0.extend(values.read().err().unwrap_or_default().0);
        Err(faults)
    }

    fn set(&mut self, setting: &'static Setting, value: String, origin: Origin) {
        self.0.insert(setting.key, (value, origin));
    }

    fn lay_file(&mut self, path: &Path, faults: &mut Faults) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return faults.0.push(format!("{}: {error}", path.display())),
        };
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                return faults.0.push(format!("{} is not TOML: {error}", path.display()));
            }
        };
        let mut table = table;
        if let Some(given) = table.remove(webhooks::TABLE) {
            self.1 = webhooks::Given { tables: Some(given), file: path.to_owned() };
        }
        let mut found = Vec::new();
        flatten("", &table, &mut found);
        for (key, value) in found {
            match SETTINGS.iter().find(|setting| setting.key == key) {
                Some(setting) => self.set(setting, value, Origin::File(path.to_owned())),
                None => {
                    let near = nearest(&key, SETTINGS.iter().map(|setting| setting.key));
                    faults.0.push(format!("`{key}` in {} is no setting{near}", path.display()));
                }
            }
        }
    }

    /// The value of a setting as text.
    pub(crate) fn text(&self, key: &str) -> &str {
        &self.0[key].0
    }

    /// Every setting: its key, its value with secrets masked, its origin.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        self.0.iter().map(|(key, (value, origin))| (*key, masked(key, value), origin))
    }

    /// Reads all values, or names everything that is wrong with them.
    pub(crate) fn read(&self) -> Result<Config, Faults> {
        let mut reader = Reader { values: self, faults: Faults::default() };
        let limits = Limits::default();
        let log = LogConfig {
            format: reader
                .one_of("log.format", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]),
            filter: reader.text("log.filter"),
        };
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&log.filter) {
            reader
                .fault("log.filter", &format!("a filter such as info,saga_worker=debug ({error})"));
        }
        let name = reader.text("worker.name");
        let webhooks = reader.webhooks();
        let config = Config {
            webhooks,
            audit_retention: match reader.text("audit.retention").as_str() {
                "forever" => None,
                _ => Some(reader.duration("audit.retention", Duration::from_secs(86_400))),
            },
            store: reader.text("store"),
            store_is_default: self.0["store"].1 == Origin::Default,
            listen: reader.parsed("listen", "an address with a port, such as 127.0.0.1:7878"),
            definitions: reader.folder("definitions"),
            declared: declared::Options {
                allow_hosts: reader.allow_hosts(),
                secrets: SecretSource::new(reader.folder("secrets_folder")),
                ..declared::Options::default()
            },
            hosts: list(&reader.text("hosts")),
            origins: reader.origins(),
            insecure: reader
                .one_of("insecure", &[("false", Insecure::No), ("true", Insecure::Yes)]),
            keys: reader.keys(),
            tls: reader.tls(),
            upgrade: reader
                .one_of("no_migrate", &[("false", Upgrade::Allowed), ("true", Upgrade::Refused)]),
            worker: WorkerConfig {
                name: Some(name).filter(|name| !name.is_empty()),
                concurrency_max: reader.number("worker.concurrency_max", 1),
                lease_ttl: reader.duration("worker.lease_ttl", Duration::from_millis(100)),
                poll_interval: reader.duration("worker.poll_interval", Duration::from_millis(10)),
                drain_timeout: reader.duration("worker.drain_timeout", Duration::ZERO),
                retention: match reader.text("worker.retention").as_str() {
                    "" => None,
                    _ => Some(reader.duration("worker.retention", Duration::from_secs(1))),
                },
            },
            limits: Limits {
                body_bytes_max: reader.number("http.body_bytes_max", 1_024),
                connections_max: reader.number("http.connections_max", 1),
                streams_max: reader.number("http.streams_max", 0),
                streams_per_key_max: reader.number("http.streams_per_key_max", 0),
                requests_per_key_max: u32::try_from(reader.number("http.requests_per_key_max", 0))
                    .unwrap_or(u32::MAX),
                ..limits
            },
            log,
            otlp: reader.otlp(),
            stdin: reader.one_of(
                "exit_with_stdin",
                &[("false", WithStdin::GoesOn), ("true", WithStdin::Ends)],
            ),
        };
        if reader.faults.0.is_empty() { Ok(config) } else { Err(reader.faults) }
    }
}

/// Reads values one by one and keeps what is wrong with them. A value that cannot be read is
/// replaced, so that the next one is looked at too; nothing runs by the replacement.
struct Reader<'a> {
    values: &'a Values,
    faults: Faults,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> String {
        self.values.0[key].0.clone()
    }

    fn fault(&mut self, key: &str, expected: &str) {
        let (value, origin) = &self.values.0[key];
        let value = masked(key, value);
        self.faults.0.push(format!("`{key}` is {value:?} ({origin}): expected {expected}"));
    }

    fn parsed<T: FromStr + From<([u8; 4], u16)>>(&mut self, key: &str, expected: &str) -> T {
        self.text(key).parse().unwrap_or_else(|_| {
            self.fault(key, expected);
            T::from(([127, 0, 0, 1], 0))
        })
    }

    fn number(&mut self, key: &str, least: usize) -> usize {
        let number = self.text(key).parse().ok().filter(|number| *number >= least);
        number.unwrap_or_else(|| {
            self.fault(key, &format!("a whole number of at least {least}"));
            least
        })
    }

    fn duration(&mut self, key: &str, least: Duration) -> Duration {
        let duration = parse_duration(&self.text(key)).filter(|duration| *duration >= least);
        duration.unwrap_or_else(|| {
            self.fault(key, &format!("a duration of at least {least:?}, such as 500ms, 30s or 2m"));
            least
        })
    }

    fn one_of<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let text = self.text(key);
        let found = words.iter().find(|(word, _)| *word == text);
        found
            .unwrap_or_else(|| {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.fault(key, &known.join(" or "));
                &words[0]
            })
            .1
    }

    fn folder(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        let [cert, key, client_ca] =
            ["tls.cert", "tls.key", "tls.client_ca"].map(|key| self.folder(key));
        match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => Some(TlsFiles { cert, key, client_ca }),
            (None, None, None) => None,
            (cert, key, _) => {
                for (name, file) in [("tls.cert", cert), ("tls.key", key)] {
                    if file.is_none() {
                        self.fault(name, "a file, since TLS takes both tls.cert and tls.key");
                    }
                }
                None
            }
        }
    }

    fn origins(&mut self) -> Vec<String> {
        let origins = list(&self.text("http.origins"));
        let sound = |origin: &&String| {
            let authority = origin.split_once("://").filter(|(s, _)| ["http", "https"].contains(s));
            authority.is_some_and(|(_, rest)| !rest.is_empty() && !rest.contains(['/', '*', '?']))
        };
        if !origins.iter().all(|origin| sound(&origin)) {
            self.fault("http.origins", "origins such as https://shop.example or http://localhost:5173, separated by commas");
        }
        origins
    }

    fn allow_hosts(&mut self) -> AllowHosts {
        let mut allowed: Vec<AllowedHost> = Vec::new();
        for entry in list(&self.text("allow_hosts")) {
            match entry.parse() {
                Ok(host) => allowed.push(host),
                Err(error) => self.fault("allow_hosts", &format!("only allowed hosts; {error}")),
            }
        }
        AllowHosts::default().and(allowed)
    }

    fn keys(&mut self) -> ApiKeys {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            keys: Vec<ApiKey>,
        }
        let path = self.text("keys_file");
        if path.is_empty() {
            return ApiKeys::default();
        }
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let file = read.and_then(|text| toml::from_str::<File>(&text).map_err(|e| e.to_string()));
        let keys = match file {
            Ok(file) if file.keys.is_empty() => Err(vec!["it holds no key".to_owned()]),
            Ok(file) => ApiKeys::new(file.keys)
                .map_err(|faults| faults.iter().map(ToString::to_string).collect()),
            Err(error) => Err(vec![error]),
        };
        keys.unwrap_or_else(|faults| {
            for fault in faults {
                self.fault(
                    "keys_file",
                    &format!("a file of keys as `saga-worker keys new` prints them; {fault}"),
                );
            }
            ApiKeys::default()
        })
    }
}

fn is_ours(name: &str) -> bool {
    let elsewhere = ["SAGA_TEST_", "SAGA_SECRET_"].iter().any(|prefix| name.starts_with(prefix));
    name.starts_with("SAGA_") && !elsewhere && !OTHER_VARIABLES.contains(&name)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The leaves of a table with their dotted keys, as text.
fn flatten(prefix: &str, table: &toml::Table, found: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, found),
            toml::Value::Array(items) => {
                let items: Vec<_> = items.iter().map(as_text).collect();
                found.push((key, items.join(",")));
            }
            scalar => found.push((key, as_text(scalar))),
        }
    }
}

fn as_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(yes) => yes.to_string(),
        toml::Value::Datetime(at) => at.to_string(),
        toml::Value::Array(_) | toml::Value::Table(_) => "(a list or table in a list)".to_owned(),
    }
}

/// The value of a setting as it may be shown.
fn masked(key: &str, value: &str) -> String {
    match key {
        "store" | "otlp.endpoint" | "otlp.traces_endpoint" | "otlp.metrics_endpoint" => mask(value),
        "otlp.headers" => otlp::mask_headers(value),
        _ => value.to_owned(),
    }
}

/// The URL of a store without its password.
pub(crate) fn mask(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else {
        return if url.contains('@') { MASKED.to_owned() } else { url.to_owned() };
    };
    let secret = |name: &str| name.contains("password") || name.contains("key");
    if parsed.cannot_be_a_base() && url.contains('@') {
        return MASKED.to_owned();
    }
    if parsed.password().is_none() && !parsed.query_pairs().any(|(name, _)| secret(&name)) {
        return url.to_owned();
    }
    if parsed.password().is_some() && parsed.set_password(Some(MASKED)).is_err() {
        return MASKED.to_owned();
    }
    let pairs: Vec<(String, String)> = parsed
        .query_pairs()
        .map(|(name, value)| {
            let value = if secret(&name) { MASKED.to_owned() } else { value.into_owned() };
            (name.into_owned(), value)
        })
        .collect();
    if !pairs.is_empty() {
        parsed.query_pairs_mut().clear().extend_pairs(pairs);
    }
    parsed.to_string()
}

#[cfg(test)]
mod tests;
