//! Changing a daemon while it serves.

use saga_core::Definition;
use saga_worker::{RegisterError, Worker};

use crate::access::ApiKeys;
use crate::service::App;
use crate::webhooks::Webhooks;

/// A way to change a [`Daemon`](crate::Daemon) that serves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DaemonHandle {
    app: App,
}

/// What could not be changed about a daemon that serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A definition was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// It was started without definitions, so it has no worker; or it drains.
    #[error(
        "there is no worker to register definitions with: the daemon was started without any, or is about to end; restart it"
    )]
    NoWorker,
    /// Without keys other machines could do everything.
    #[error(
        "the last API key cannot be taken away while other machines reach the daemon: keep one, or restart it with --insecure"
    )]
    Exposed,
}

impl DaemonHandle {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }

    /// Registers definitions: all of them or none. See [`Worker::register`].
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is registered then.
    pub async fn register(&self, definitions: Vec<Definition>) -> Result<(), ChangeError> {
        let registering = self.app.with_worker(|worker: &Worker| worker.register(definitions));
        registering.ok_or(ChangeError::NoWorker)?.await?;
        self.app.forget_specs();
        Ok(())
    }

    /// Puts other keys in the place of those that are valid: a request that begins now is held
    /// against them.
    ///
    /// # Errors
    /// [`ChangeError::Exposed`]; nothing is changed then.
    pub fn replace_keys(&self, keys: ApiKeys) -> Result<(), ChangeError> {
        self.check_keys(&keys)?;
        self.app.replace_keys(keys);
        Ok(())
    }

    pub(crate) fn check_keys(&self, keys: &ApiKeys) -> Result<(), ChangeError> {
        match keys.is_empty() && self.app.needs_keys() {
            true => Err(ChangeError::Exposed),
            false => Ok(()),
        }
    }

    /// Puts other webhooks in the place of those there are. One that keeps its name keeps its place:
    /// what happened since is delivered as the new one wants it.
    pub fn replace_webhooks(&self, webhooks: Webhooks) {
        self.app.webhooks().send_replace(webhooks);
    }

    /// Puts other host names in the place of those under which it may be reached.
    pub fn replace_hosts(&self, hosts: impl IntoIterator<Item = String>) {
        self.app.replace_hosts(hosts.into_iter().collect());
    }
}
