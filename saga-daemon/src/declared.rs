//! Definitions as YAML files: what a saga consists of, for services in any language.
//!
//! ```yaml
//! name: place-order
//! participants:
//!   inventory: https://inventory.example
//!   payments:
//!     url: https://payments.example/v1
//!     headers: { Authorization: Bearer secret://PAYMENTS_TOKEN }
//! steps:
//!   - name: reserve-stock
//!     participant: inventory
//!     action: reserve
//!     compensation: release
//!   - name: capture-payment
//!     participant: payments
//!     pivot:
//!       url: "orders/{{ input.order }}/capture"
//!       body: { cents: "{{ input.cents }}", reservation: "{{ outputs.reserve_stock.id }}" }
//! ```
//!
//! A step is **compensatable** (`action` and `compensation`), the **pivot**, or **retriable**; the
//! key of its call says which. Without a `body`, a call carries that of the participant protocol.
//!
//! Expressions stand between `{{` and `}}` and read `input`, `outputs.the_step` (with `_` for `-`),
//! `saga_id`, `saga`, `step`, `op`, `attempt`, `idempotency_key`, and in a compensation `output`,
//! the output of its own action. What is read must be there, unless `| default(..)` says what to
//! take instead; in the body of a compensation whose action never answered, its output is null.
//!
//! Everything wrong with a file is found in one go, each fault with its line, its column and the
//! nearest valid spelling:
//!
//! ```
//! use saga_daemon::declared::{self, Options};
//!
//! let text = "name: greet\nsteps:\n  - name: hello\n    pivto: https://example.com/hello\n";
//! let faults = declared::parse("greet.yaml", text, &Options::default()).unwrap_err();
//! assert!(faults.to_string().contains("greet.yaml:4:5: a step has no key `pivto`"));
//! assert!(faults.to_string().contains("did you mean `pivot`?"));
//! ```

mod body;
mod definition;
mod expression;
mod fault;
mod fields;
mod headers;
mod keys;
mod nearest;
mod node;
mod participant;
mod policy;
mod reads;
mod request;
mod schema;
mod secret;
mod source;
mod step;
mod target;
mod text;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use saga_core::{Definition, Digest};

pub use fault::{Code, Fault, Faults};
pub use schema::schema;
pub use secret::SecretSource;

use crate::outbound::{AllowHosts, Lookup, SystemLookup};
use definition::Reading;
use source::{Mark, Source};

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most files of a folder.
const FILES_MAX: usize = 1_000;
/// How the name of a file of definitions ends.
const EXTENSION: &str = "yaml";

/// What definitions may do here, whatever they say themselves.
#[derive(Clone)]
pub struct Options {
    /// Private hosts that every definition may call, beside those it allows itself.
    pub allow_hosts: AllowHosts,
    /// Where secrets come from. They are looked for when a request is made, not before.
    pub secrets: SecretSource,
    /// How the names of hosts are resolved.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_hosts: AllowHosts::default(),
            secrets: SecretSource::default(),
            lookup: Arc::new(SystemLookup),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("allow_hosts", &self.allow_hosts)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// A definition read from a file.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The file it was read from, as it was named.
    pub file: String,
    /// The definition, ready to be registered with a worker.
    pub definition: Definition,
    /// Digest of the text of the file, to tell whether it was changed.
    pub digest: Digest,
    /// The names of the secrets it sends; see [`SecretSource::check`].
    pub secrets: Vec<String>,
}

/// Reads one definition from the text of a file.
///
/// # Errors
/// [`Faults`] with everything that is wrong, under the name given for the file.
pub fn parse(file_name: &str, text: &str, options: &Options) -> Result<Declared, Faults> {
    let (reading, faults) = read(file_name, text, options);
    match reading.declared {
        Some(declared) => Faults::none_or(faults, declared),
        None => Err(Faults::of(faults)),
    }
}

/// Reads every `*.yaml` of a folder, in the order of their names.
///
/// # Errors
/// [`Faults`] with everything that is wrong in any file, and two files that define the same.
pub fn load(folder: &Path, options: &Options) -> Result<Vec<Declared>, Faults> {
    let (paths, mut faults) = files(folder);
    let mut declared = Vec::new();
    let mut seen: BTreeMap<(String, u32), (String, Mark)> = BTreeMap::new();
    for path in paths {
        let file = path.display().to_string();
        let text = match contents(&path) {
            Ok(text) => text,
            Err(message) => {
                faults.push(of_file(&file, message, None));
                continue;
            }
        };
        let (reading, found) = read(&file, &text, options);
        faults.extend(found);
        if let Some((name, version, mark)) = reading.heading {
            match seen.get(&(name.clone(), version)) {
                Some((first, at)) => {
                    let message = format!(
                        "{name} v{version} is already defined in {first}:{}:{}: expected another name or version",
                        at.line, at.column
                    );
                    faults.push(Source::new(&file, &text).shared_fault(mark, message));
                }
                None => drop(seen.insert((name, version), (file.clone(), mark))),
            }
        }
        declared.extend(reading.declared);
    }
    Faults::none_or(faults, declared)
}

fn read(file: &str, text: &str, options: &Options) -> (Reading, Vec<Fault>) {
    if text.len() as u64 > FILE_BYTES_MAX {
        let fault = of_file(file, too_large(text.len() as u64), None);
        return (Reading { heading: None, declared: None }, vec![fault]);
    }
    let source = Source::new(file, text);
    let reading = match node::read(&source) {
        Some(node) => definition::read(&source, &node, options),
        None => Reading { heading: None, declared: None },
    };
    (reading, source.into_faults())
}

/// The files of a folder that are definitions, by name; faults for those that nearly are.
fn files(folder: &Path) -> (Vec<PathBuf>, Vec<Fault>) {
    let name = folder.display().to_string();
    let mut faults = Vec::new();
    let mut paths = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("the folder of definitions cannot be read: {error}");
            return (paths, vec![of_file(&name, message, None)]);
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => {
                faults.push(of_file(&name, format!("an entry cannot be read: {error}"), None))
            }
        }
    }
    paths.sort();
    paths.retain(|path| match path.extension().and_then(|extension| extension.to_str()) {
        Some(EXTENSION) => true,
        Some(other) if other == "yml" || other.eq_ignore_ascii_case(EXTENSION) => {
            let message =
                "this file would not be read: expected a name that ends in .yaml".to_owned();
            let help = format!("rename it to {}", path.with_extension(EXTENSION).display());
            faults.push(of_file(&path.display().to_string(), message, Some(help)));
            false
        }
        _ => false,
    });
    if paths.len() > FILES_MAX {
        let message =
            format!("there are {} definitions: expected at most {FILES_MAX}", paths.len());
        faults.push(of_file(&name, message, None));
        paths.clear();
    }
    (paths, faults)
}

fn contents(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("the file cannot be read: {error}");
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("this is no file: expected a definition in YAML".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(too_large(metadata.len()));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "the file is not UTF-8: the first odd byte is number {}",
            error.utf8_error().valid_up_to() + 1
        )
    })
}

fn too_large(bytes: u64) -> String {
    format!("the file has {bytes} bytes: expected at most {FILE_BYTES_MAX}")
}

/// A fault of a file or folder as a whole.
fn of_file(file: &str, message: String, help: Option<String>) -> Fault {
    Fault {
        file: file.to_owned(),
        line: 0,
        column: 0,
        code: Code::File,
        message,
        help,
        source: None,
        width: 1,
    }
}
