//! Reading configuration and definitions again while the daemon serves: all of it or, with a fault
//! anywhere, nothing.

use std::collections::BTreeMap;

use saga_core::{Definition, Digest};

use super::arguments::Settings;
use super::serve::{declared, listed, named};
use crate::config::{Config, Faults, Values};
use crate::declared::Declared;
use crate::tls::Tls;
use crate::{ChangeError, DaemonHandle};
use saga_worker::RegisterError;

/// Settings that take effect when they are read again, whatever stands in the files they name.
const RELOADED: [&str; 5] = ["definitions", "keys_file", "hosts", "allow_hosts", "secrets_folder"];
/// Those among them that go into every definition.
const OF_DEFINITIONS: [&str; 2] = ["allow_hosts", "secrets_folder"];

/// What the daemon runs by at the moment, and where to look for what it should run by.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) source: Settings,
    pub(super) values: Values,
    pub(super) handle: DaemonHandle,
    pub(super) tls: Option<Tls>,
    /// The definitions that came from files.
    pub(super) known: Known,
    /// The definitions that are code of this program.
    pub(super) coded: Vec<(String, u32)>,
}

/// By name and version: the file of a definition and the digest of its text.
pub(super) type Known = BTreeMap<(String, u32), (String, Digest)>;

/// Why nothing was changed, a line each.
type Refused = Vec<String>;

impl Reloader {
    /// Reads everything again and puts it into effect, or logs every fault and changes nothing.
    pub(super) async fn reload(&mut self) {
        match self.try_reload().await {
            Ok(()) => tracing::info!("configuration and definitions have been read again"),
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{fault}");
                }
                tracing::error!(faults = faults.len(), "not reloaded: nothing was changed");
            }
        }
    }

    async fn try_reload(&mut self) -> Result<(), Refused> {
        let (values, config) = self.read()?;
        let declared = match &config.definitions {
            Some(folder) => declared(folder, &config.declared)?,
            None => Vec::new(),
        };
        let known = known(&declared);
        let clashes = known.iter().filter(|(key, _)| self.coded.contains(key));
        let mut faults: Refused = clashes
            .map(|((name, version), (file, _))| {
                format!("{file}: {name} v{version} is a definition of this program already: give it another version")
            })
            .collect();
        let certificate = self.tls.as_ref().map(Tls::read_again).transpose();
        faults.extend(certificate.as_ref().err().map(ToString::to_string));
        faults.extend(self.handle.check_keys(&config.keys).err().map(|error| error.to_string()));
        if !faults.is_empty() {
            return Err(faults);
        }
        self.register(declared, &values).await?;
        self.tell_definitions(&known);
        self.known.extend(known);
        let keys = listed(&config.keys);
        self.handle.replace_keys(config.keys).map_err(|error| vec![error.to_string()])?;
        self.handle.replace_hosts(config.hosts);
        if !config.webhooks.is_empty() {
            tracing::info!(webhooks = named(&config.webhooks), "webhooks that are told now");
        }
        self.handle.replace_webhooks(config.webhooks);
        if let (Some(tls), Ok(Some(certificate))) = (&self.tls, certificate) {
            tls.replace(certificate);
            tracing::info!("new connections see the certificate that is in its file now");
        }
        tracing::info!(keys, "API keys that are valid now");
        self.tell_settings(&values);
        self.values = values;
        Ok(())
    }

    fn read(&self) -> Result<(Values, Config), Refused> {
        let lines = |Faults(faults): Faults| faults;
        let values = self.source.gather().map_err(lines)?;
        let config = values.read().map_err(lines)?;
        Ok((values, config))
    }

    /// Registers what is new or has another text; what did not change keeps running as it is.
    async fn register(&self, declared: Vec<Declared>, now: &Values) -> Result<(), Refused> {
        let all = OF_DEFINITIONS.iter().any(|key| self.values.text(key) != now.text(key));
        let changed = declared.into_iter().filter(|one| {
            let known = self.known.get(&key(&one.definition));
            all || known.is_none_or(|(_, digest)| *digest != one.digest)
        });
        let changed: Vec<Definition> = changed.map(|one| one.definition).collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.handle.register(changed).await.map_err(|error| match error {
            ChangeError::Register(RegisterError::Changed(changed)) => {
                changed.iter().map(ToString::to_string).collect()
            }
            error => vec![error.to_string()],
        })
    }

    fn tell_definitions(&self, now: &Known) {
        for (key, (file, digest)) in now {
            let (name, version) = key;
            match self.known.get(key) {
                None => tracing::info!(file, "{name} v{version} is new and serves new sagas"),
                Some((_, known)) if known != digest => tracing::info!(
                    file,
                    "{name} v{version} has new policies or calls, for sagas taken up from now on"
                ),
                Some(_) => {}
            }
        }
        for ((name, version), (file, _)) in &self.known {
            if !now.contains_key(&(name.clone(), *version)) {
                tracing::warn!(
                    file,
                    "{name} v{version} is in no file any more: it stays registered until the restart, so that its sagas can finish"
                );
            }
        }
    }

    /// Settings that changed, with whether that has an effect before the next start.
    fn tell_settings(&self, now: &Values) {
        let before: BTreeMap<&str, String> =
            self.values.shown().map(|(key, value, _)| (key, value)).collect();
        for (key, value, origin) in now.shown() {
            if before.get(key).is_some_and(|known| *known != value) {
                match RELOADED.contains(&key) {
                    true => tracing::info!(key, value, %origin, "a setting has changed"),
                    false => tracing::warn!(
                        key,
                        value,
                        %origin,
                        "a setting has changed, which takes effect at the next start"
                    ),
                }
            }
        }
    }
}

/// The definitions of files by name and version.
pub(super) fn known(declared: &[Declared]) -> Known {
    declared.iter().map(|one| (key(&one.definition), (one.file.clone(), one.digest))).collect()
}

/// Name and version.
pub(super) fn key(definition: &Definition) -> (String, u32) {
    (definition.spec().name.clone(), definition.spec().version)
}
