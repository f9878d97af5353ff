//! What `allow_hosts` says.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::address::literal;

/// The hosts and addresses that may be called although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowHosts(Vec<AllowedHost>);

/// One entry of `allow_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// A host by its name.
    Name(String),
    /// Every host below a domain, written `*.internal.example`.
    Below(String),
    /// An address, or a block of them.
    Net(IpNet),
}

/// An entry that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} {why}: expected a host such as inventory.internal or *.internal, an address such as 127.0.0.1, or a block such as 10.0.0.0/8"
)]
pub struct AllowedHostError {
    /// What was given.
    pub entry: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl AllowHosts {
    /// These and those.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = AllowedHost>) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether a host is allowed by its name.
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.0.iter().any(|allowed| match allowed {
            AllowedHost::Name(name) => *name == host,
            AllowedHost::Below(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            AllowedHost::Net(_) => false,
        })
    }

    /// Whether an address is allowed.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|allowed| match allowed {
            AllowedHost::Net(net) => net.contains(&address),
            AllowedHost::Name(_) | AllowedHost::Below(_) => false,
        })
    }
}

impl FromIterator<AllowedHost> for AllowHosts {
    fn from_iter<I: IntoIterator<Item = AllowedHost>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(entry: &str) -> Result<Self, AllowedHostError> {
        let faulty = |why| AllowedHostError { entry: entry.to_owned(), why };
        if let Ok(net) = entry.parse::<IpNet>() {
            return Ok(Self::Net(net));
        }
        if let Some(address) = literal(entry) {
            return Ok(Self::Net(address.into()));
        }
        if entry.contains("://") {
            return Err(faulty("is a URL"));
        }
        let lower = entry.to_ascii_lowercase();
        let (is_below, name) = match lower.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, lower.as_str()),
        };
        let is_label = |label: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.len() <= 63 && label.chars().all(legal)
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(faulty("is no host"));
        }
        // What looks like a number is an address that was written in a way we do not guess at.
        if name.split('.').next_back().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(faulty("is no address"));
        }
        let name = name.to_owned();
        Ok(if is_below { Self::Below(name) } else { Self::Name(name) })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => {
                write!(f, "{}", net.addr())
            }
            Self::Net(net) => write!(f, "{net}"),
        }
    }
}
