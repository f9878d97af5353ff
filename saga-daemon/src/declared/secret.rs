//! Secrets by reference: `secret://NAME` in a header, resolved when the request is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a reference begins with.
pub(super) const SCHEME: &str = "secret://";
/// Longest name.
const NAME_LEN_MAX: usize = 64;
/// Shortest secret, so that it can be told from other words and masked where an answer repeats it.
const BYTES_MIN: usize = 4;
/// Largest secret; it has to fit into a header.
const BYTES_MAX: u64 = 8 * 1024;

/// Where secrets come from: a file of that name in a folder, else the variable `SAGA_SECRET_NAME`
/// of the environment.
///
/// Files are read anew for every request, so a secret is rotated by replacing its file.
#[derive(Clone)]
pub struct SecretSource {
    folder: Option<PathBuf>,
    environment: Arc<Environment>,
}

/// Finds the value of a variable.
type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

impl SecretSource {
    /// Secrets of the process's environment, and of the files of a folder if one is given.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self::with_environment(folder, |variable| std::env::var(variable).ok())
    }

    /// The same with variables from elsewhere.
    pub fn with_environment(
        folder: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { folder, environment: Arc::new(environment) }
    }

    /// Whether a secret can be found now.
    ///
    /// # Errors
    /// In words, with the name and never with the value.
    pub fn check(&self, name: &str) -> Result<(), String> {
        self.resolve(name).map(drop)
    }

    pub(crate) fn resolve(&self, name: &str) -> Result<String, String> {
        if let Some(message) = fault_of(name) {
            return Err(message);
        }
        let variable = format!("SAGA_SECRET_{name}");
        let found = match self.file(name)? {
            Some(text) => Some(text),
            None => (self.environment)(&variable),
        };
        let secret = found.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        match secret.filter(|secret| !secret.is_empty()) {
            Some(secret) if secret.len() < BYTES_MIN => Err(format!(
                "the secret {name} is too short: expected at least {BYTES_MIN} characters"
            )),
            Some(secret) if secret.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => Ok(secret),
            Some(_) => Err(format!("the secret {name} holds what a header cannot carry")),
            None => Err(format!(
                "there is no secret {name}: expected the variable {variable}, or a file {name} in the folder of secrets"
            )),
        }
    }

    fn file(&self, name: &str) -> Result<Option<String>, String> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let path = folder.join(name);
        let unreadable = |error: std::io::Error| {
            format!("the file of the secret {name} cannot be read: {}", error.kind())
        };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if !metadata.is_file() || metadata.len() > BYTES_MAX => {
                return Err(format!("the secret {name} is no file of at most {BYTES_MAX} bytes"));
            }
            Ok(_) => {}
        }
        std::fs::read_to_string(&path).map(Some).map_err(unreadable)
    }
}

impl Default for SecretSource {
    fn default() -> Self {
        Self::new(None)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Whether a character belongs to the name of a secret, or was meant to.
pub(super) fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// What is wrong with the name of a secret, which becomes part of a variable and of a path.
pub(super) fn fault_of(name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_good = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.len() <= NAME_LEN_MAX
        && name.chars().all(legal);
    (!is_good).then(|| {
        format!(
            "{name:?} is no name of a secret: expected capitals, digits and underscores, such as secret://PAYMENTS_TOKEN"
        )
    })
}
