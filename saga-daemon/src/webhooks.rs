//! Webhooks: verdicts and stuck sagas, sent to whoever is to know, at least once.
//!
//! The log is the outbox: what a webhook is to be told became durable with the transition itself, and
//! nothing is written for it a second time. Each webhook has a place in the feed of all sagas, kept in
//! a register of the store, and moves on when everything up to there was delivered or is on its list
//! of retries. So a delivery that a crash interrupts is made again, a dead endpoint holds nobody up
//! but itself, and while its list is full it does not move on: what waits is the log, which is kept
//! anyway. Of the daemons on one store one delivers for a webhook, by a lease in the same register.
//!
//! `event` is what is sent, `signature` how it is signed, `sender` makes one delivery, `state` is the
//! register, `courier` the task of one webhook, and `shift` its deliveries.

mod courier;
mod event;
mod sender;
mod shift;
mod signature;
mod state;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::Url;
use saga_core::Status;

use crate::declared::SecretSource;
use crate::outbound::{AllowHosts, Outbound, Refused};

pub(crate) use courier::deliver_all;
pub(crate) use state::{Change, State, age, change, list, load};

/// What a webhook may be told of: the verdicts, and that a saga is stuck.
pub(crate) const OCCASIONS: [Status; 4] =
    [Status::Completed, Status::Compensated, Status::Stopped, Status::Stuck];

/// One webhook: where to send what.
#[derive(Clone)]
pub struct Webhook {
    /// Its name: the same after a restart, for its place in the feed is kept under it.
    pub name: String,
    /// Where deliveries go.
    pub url: Url,
    /// What it is told of: verdicts and `stuck`.
    pub events: BTreeSet<Status>,
    /// Only sagas of these definitions; empty for all.
    pub definitions: BTreeSet<String>,
    /// The names of the secrets that deliveries are signed with, the newest first.
    pub secrets: Vec<String>,
    /// How long one delivery may take.
    pub timeout: Duration,
    /// How long a delivery is tried before it is given up as lost.
    pub give_up: Duration,
    /// How long nothing may have been delivered before the webhook is switched off.
    pub disable_after: Duration,
}

impl Webhook {
    /// Default of [`Webhook::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// Default of [`Webhook::give_up`]: three days.
    pub const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3_600);
    /// Default of [`Webhook::disable_after`]: five days.
    pub const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3_600);
    /// Longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// A webhook for all verdicts and stuck sagas of all definitions, unsigned, with the defaults.
    pub fn new(name: impl Into<String>, url: Url) -> Self {
        Self {
            name: name.into(),
            url,
            events: OCCASIONS.into(),
            definitions: BTreeSet::new(),
            secrets: Vec::new(),
            timeout: Self::TIMEOUT,
            give_up: Self::GIVE_UP,
            disable_after: Self::DISABLE_AFTER,
        }
    }

    /// Where deliveries go, without what may be secret in it: many endpoints are known by their path
    /// or query alone.
    pub(crate) fn shown_url(&self) -> String {
        let mut url = self.url.clone();
        if url.path() != "/" {
            url.set_path("***");
        }
        if url.query().is_some() {
            url.set_query(Some("***"));
        }
        url.set_fragment(None);
        url.to_string()
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("url", &self.shown_url())
            .finish_non_exhaustive()
    }
}

/// The webhooks of a daemon, and what they may reach.
#[derive(Clone, Debug, Default)]
pub struct Webhooks {
    hooks: Vec<Webhook>,
    secrets: SecretSource,
    allowed: AllowHosts,
}

impl Webhooks {
    /// Webhooks whose secrets come from `secrets`, and which may call private hosts that are in
    /// `allowed`.
    ///
    /// # Errors
    /// What is wrong, a line each: a name twice or malformed, no event, a secret that is not there,
    /// a URL that may not be called.
    pub fn new(
        hooks: Vec<Webhook>,
        secrets: SecretSource,
        allowed: AllowHosts,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        for hook in &hooks {
            let mut fault = |what: String| faults.push(format!("webhook {}: {what}", hook.name));
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let fits = (1..=Webhook::NAME_BYTES_MAX).contains(&hook.name.len());
            if !fits || !hook.name.chars().all(legal) {
                fault("its name is expected to be 1 to 64 of a-z, 0-9 and -".to_owned());
            }
            if !names.insert(&hook.name) {
                fault("there are two of this name".to_owned());
            }
            let strange = hook.events.iter().find(|event| !OCCASIONS.contains(event));
            if hook.events.is_empty() || strange.is_some() {
                let known = OCCASIONS.map(Status::as_str).join(", ");
                fault(format!("its events are expected to be one or several of {known}"));
            }
            if let Err(refused) = guard(&allowed, &hook.url) {
                fault(refused.to_string());
            }
            for name in &hook.secrets {
                if let Err(why) = signature::key(&secrets, name) {
                    fault(why);
                }
            }
        }
        if faults.is_empty() { Ok(Self { hooks, secrets, allowed }) } else { Err(faults) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Them.
    pub fn iter(&self) -> impl Iterator<Item = &Webhook> {
        self.hooks.iter()
    }
}

/// The guard of a webhook's calls: its own host alone, and no private address that is not allowed.
fn guard(allowed: &AllowHosts, url: &Url) -> Result<Outbound, Refused> {
    let mut outbound = Outbound::new(allowed.clone());
    outbound.name(url)?;
    Ok(outbound)
}
