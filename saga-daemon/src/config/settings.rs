//! The settings there are, in one table: the file, the environment, the flags and their help are
//! made from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in a file, dots between tables.
    pub(crate) key: &'static str,
    /// What its value looks like.
    pub(crate) form: &'static str,
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
}

const fn setting(
    key: &'static str,
    form: &'static str,
    default: &'static str,
    about: &'static str,
) -> Setting {
    Setting { key, form, default, about }
}

pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "store",
        "URL",
        "",
        "Store of the sagas: sqlite://path/to/saga.db or postgres://user@host/database. Default: SQLite in the data folder of this account",
    ),
    setting(
        "listen",
        "ADDRESS",
        "127.0.0.1:7878",
        "Address of the API. One that other machines reach needs keys",
    ),
    setting("definitions", "FOLDER", "", "Folder of the definitions, one *.yaml each"),
    setting(
        "secrets_folder",
        "FOLDER",
        "",
        "Folder of the secrets that definitions refer to, one file each. Without it, and beside it, SAGA_SECRET_<NAME>",
    ),
    setting(
        "allow_hosts",
        "HOSTS",
        "",
        "Private hosts and addresses that every definition may call, such as inventory.internal or 10.0.0.0/8, separated by commas",
    ),
    setting(
        "hosts",
        "NAMES",
        "",
        "Host names under which the API may be reached beside those of this machine, separated by commas",
    ),
    setting(
        "insecure",
        "BOOL",
        "false",
        "true: serve an address that other machines reach without keys",
    ),
    setting(
        "keys_file",
        "PATH",
        "",
        "File of the API keys, as `saga-worker keys new` prints them. Without it everybody who reaches the API may do everything",
    ),
    setting(
        "tls.cert",
        "PATH",
        "",
        "Certificate of the API in PEM, its authorities after it; with it the API speaks https only",
    ),
    setting("tls.key", "PATH", "", "Private key of the certificate in PEM"),
    setting(
        "tls.client_ca",
        "PATH",
        "",
        "Authorities in PEM that sign the certificates of clients; with it only such clients get in",
    ),
    setting(
        "no_migrate",
        "BOOL",
        "false",
        "true: refuse a database whose schema would have to be changed, for a role that may not; see `saga-worker migrate`",
    ),
    setting(
        "worker.name",
        "NAME",
        "",
        "Name of this worker for people. Default: process- and the process id",
    ),
    setting("worker.concurrency_max", "N", "512", "Most sagas driven at once"),
    setting(
        "worker.lease_ttl",
        "DURATION",
        "10s",
        "How long after the last heartbeat others may take the sagas over",
    ),
    setting(
        "worker.poll_interval",
        "DURATION",
        "1s",
        "How often to look for due sagas when no hint comes",
    ),
    setting(
        "worker.drain_timeout",
        "DURATION",
        "30s",
        "How long the end waits for calls in flight",
    ),
    setting(
        "worker.retention",
        "DURATION",
        "",
        "How long a saga is kept after its verdict, such as 720h; its idempotency key is free again then. Default: for ever",
    ),
    setting(
        "audit.retention",
        "DURATION",
        "400d",
        "How long entries of the audit trail are kept, at least 1d; `forever` for ever",
    ),
    setting("http.body_bytes_max", "BYTES", "1048576", "Largest body of a request"),
    setting("http.connections_max", "N", "4096", "Most connections at a time"),
    setting("http.streams_max", "N", "2048", "Most event streams at a time"),
    setting("http.streams_per_key_max", "N", "1024", "Most event streams of one API key"),
    setting(
        "http.requests_per_key_max",
        "N",
        "1000",
        "Most requests of one API key for each second, twice as many at once; 0 for no bound",
    ),
    setting(
        "http.origins",
        "ORIGINS",
        "",
        "Other sites whose pages may open event streams and WebSockets, such as https://shop.example, separated by commas",
    ),
    setting(
        "exit_with_stdin",
        "BOOL",
        "false",
        "true: drain and exit when standard input ends, so that a parent process that dies leaves nothing running",
    ),
    setting(
        "otlp.endpoint",
        "URL",
        "",
        "Collector that traces and metrics go to by OTLP over HTTP, such as http://127.0.0.1:4318; `none` for nowhere. Default: nowhere",
    ),
    setting(
        "otlp.traces_endpoint",
        "URL",
        "",
        "Where traces go instead, as a whole URL, or `none`. Default: /v1/traces below otlp.endpoint",
    ),
    setting(
        "otlp.metrics_endpoint",
        "URL",
        "",
        "Where metrics go instead, as a whole URL, or `none`. Default: /v1/metrics below otlp.endpoint",
    ),
    setting(
        "otlp.headers",
        "HEADERS",
        "",
        "Headers for the collector, such as authorization=Bearer%20token, separated by commas",
    ),
    setting("otlp.timeout", "DURATION", "10s", "How long one request to the collector may take"),
    setting("otlp.interval", "DURATION", "60s", "How often metrics are sent to the collector"),
    setting(
        "otlp.ratio",
        "RATIO",
        "1",
        "How large a part of the sagas that bring no trace context is traced, from 0 to 1",
    ),
    setting(
        "otlp.service_name",
        "NAME",
        "saga-worker",
        "Name of this service in traces and metrics",
    ),
    setting("log.format", "FORMAT", "pretty", "pretty or json, on standard error"),
    setting(
        "log.filter",
        "FILTER",
        "info,opentelemetry=warn",
        "What is logged, such as info,saga_worker=debug",
    ),
];

impl Setting {
    /// Its name as a flag, without the hyphens before it.
    pub(crate) fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("SAGA_{}", self.key.replace('.', "__").to_uppercase())
    }

    pub(crate) fn default_value(&self, environment: &BTreeMap<String, String>) -> String {
        match self.key {
            "store" => format!("sqlite://{}", data_folder(environment).join("saga.db").display()),
            _ => self.default.to_owned(),
        }
    }
}

/// Where programs of this account keep their data, by the rules of the platform.
fn data_folder(environment: &BTreeMap<String, String>) -> PathBuf {
    let variable = |name: &str| environment.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    // Set by systemd for a unit with `StateDirectory=`.
    if let Some(folder) = variable("STATE_DIRECTORY") {
        return folder;
    }
    let folder = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))
    };
    folder.map_or_else(|| PathBuf::from("."), |folder| folder.join("saga"))
}

/// `; did you mean x?` for the nearest of the known names, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|known| (distance(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => {
            format!("; did you mean {known}?")
        }
        _ => "; `saga-worker config` lists those there are".to_owned(),
    }
}

/// How many characters have to be changed, added or taken away.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
