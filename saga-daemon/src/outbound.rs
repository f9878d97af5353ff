//! The guard on the way out: calls go to the hosts that a definition names, and to no private
//! address unless it was allowed.
//!
//! A name is checked when it is resolved for a connection, not before: a name that was public when
//! somebody looked and is `127.0.0.1` a moment later is refused.

mod address;
mod allow;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use saga_core::BoxFuture;
use saga_worker::HttpParticipant;

pub use address::AddressKind;
pub use allow::{AllowHosts, AllowedHost, AllowedHostError};

/// Finds the addresses of a host. The system's resolver is [`SystemLookup`].
pub trait Lookup: Send + Sync + 'static {
    /// The addresses; their ports do not count.
    fn lookup(&self, host: String) -> BoxFuture<std::io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// Why a host is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither http nor https.
    #[error("the scheme {scheme:?} cannot be called: expected https, or http to an allowed host")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// Plain http to a host that is not allowed by name or address.
    #[error(
        "plain http to {host} can be read on the way: expected https, or {host} in allow_hosts"
    )]
    Plain {
        /// The host.
        host: String,
    },
    /// User and password in a URL end up in logs.
    #[error(
        "a URL must not hold a user or a password: expected a header with a value such as \"Bearer secret://NAME\""
    )]
    Credentials,
    /// No host at all.
    #[error("the URL has no host: expected one such as https://payments.example/v1")]
    NoHost,
    /// The address is not one of the open network.
    #[error("{host} is {kind}: expected a public address, or {host} in allow_hosts")]
    Address {
        /// The host of the URL.
        host: String,
        /// What its address is.
        kind: AddressKind,
    },
    /// The name leads to an address that is not one of the open network.
    #[error(
        "{host} leads to {address}, {kind}: expected a public address, or what is meant in allow_hosts"
    )]
    Resolved {
        /// The host of the URL.
        host: String,
        /// Where it leads.
        address: IpAddr,
        /// What that is.
        kind: AddressKind,
    },
    /// No definition names the host.
    #[error("no participant of the definition is at {host}")]
    Unnamed {
        /// The host.
        host: String,
    },
}

/// The guard of the calls of one definition.
#[derive(Clone)]
pub struct Outbound {
    allowed: AllowHosts,
    named: BTreeSet<String>,
    /// Whether any of them is called by https.
    is_encrypted: bool,
    lookup: Arc<dyn Lookup>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("allowed", &self.allowed)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// A guard that lets no call pass until hosts are named.
    pub fn new(allowed: AllowHosts) -> Self {
        Self {
            allowed,
            named: BTreeSet::new(),
            is_encrypted: false,
            lookup: Arc::new(SystemLookup),
        }
    }

    /// Resolves names in another way than the system's.
    #[must_use]
    pub fn lookup(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.lookup = lookup;
        self
    }

    /// Names the host of a URL as one that may be called.
    ///
    /// # Errors
    /// As [`Outbound::check`].
    pub fn name(&mut self, url: &Url) -> Result<(), Refused> {
        self.check(url)?;
        self.is_encrypted |= url.scheme() == "https";
        self.named.extend(url.host_str().map(str::to_owned));
        Ok(())
    }

    /// Checks what can be seen of a URL without asking for addresses.
    ///
    /// # Errors
    /// [`Refused`] with what was expected.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme { scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Refused::NoHost)?;
        let is_allowed = match address::literal(host) {
            Some(address) => {
                let kind = AddressKind::of(address);
                let is_allowed = self.allowed.covers(address);
                if kind != AddressKind::Public && !is_allowed {
                    return Err(Refused::Address { host: host.to_owned(), kind });
                }
                is_allowed
            }
            None => self.check_name(host)?,
        };
        if url.scheme() == "http" && !is_allowed {
            return Err(Refused::Plain { host: host.to_owned() });
        }
        Ok(())
    }

    /// Whether a name is allowed; an error where its words already say that it leads inside.
    fn check_name(&self, host: &str) -> Result<bool, Refused> {
        let is_allowed = self.allowed.names(host);
        let bare = host.trim_end_matches('.');
        let is_local = bare == "localhost" || bare.ends_with(".localhost");
        if is_local && !is_allowed {
            let kind = AddressKind::Loopback;
            return Err(Refused::Address { host: host.to_owned(), kind });
        }
        Ok(is_allowed)
    }

    /// Checks one address that a name has led to.
    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let kind = AddressKind::of(address);
        let passes = match kind {
            AddressKind::Public => true,
            // A name that was allowed is one of the private network, or it says that it is this
            // very machine; it is never the metadata service or the like by accident.
            AddressKind::Private => self.allowed.names(host),
            AddressKind::Loopback => self.allowed.names(host) && host.ends_with("localhost"),
            AddressKind::LinkLocal | AddressKind::Reserved | AddressKind::Translated => false,
        };
        if passes || self.allowed.covers(address) {
            return Ok(());
        }
        Err(Refused::Resolved { host: host.to_owned(), address, kind })
    }

    /// The addresses among those of a name that may be called.
    async fn resolve(
        self,
        host: String,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        if !self.named.contains(&host) {
            return Err(Box::new(Refused::Unnamed { host }));
        }
        let mut refused = None;
        let mut open = Vec::new();
        for address in self.lookup.lookup(host.clone()).await? {
            match self.check_address(&host, address.ip()) {
                Ok(()) => open.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match (open.is_empty(), refused) {
            (true, Some(why)) => Err(Box::new(why)),
            (true, None) => Err(format!("{host} has no address").into()),
            (false, _) => Ok(open),
        }
    }

    /// A client whose connections pass the guard; it follows no redirects and uses no proxy.
    ///
    /// # Errors
    /// When the system offers no certificates to trust, or the like.
    pub fn client(&self) -> reqwest::Result<reqwest::Client> {
        let client = HttpParticipant::client_builder().dns_resolver(Arc::new(self.clone()));
        // Without https to call, the system's roots need not be read and parsed.
        match self.is_encrypted {
            true => client.build(),
            false => client.tls_certs_only(std::iter::empty()).build(),
        }
    }
}

impl Resolve for Outbound {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, host) = (self.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let addresses = guard.resolve(host).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
